//! `/openapi.json`: what is always there, and a path for each command of each plugin.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::Response;
use hostd_protocol::{
    Access, ArgumentKind, CommandDescription, PluginDescription, Request as Asked,
    Response as Answer,
};
use serde_json::{Map, Value, json};

use super::answer;
use super::refused::Refused;
use crate::gateway::Shared;
use crate::{Caller, Service};

/// The document without plugins.
const FIXED: &str = include_str!("openapi/fixed.json");

/// `GET /openapi.json`.
pub(super) async fn document<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Refused> {
    match shared.service.handle(&caller, Asked::Commands).await? {
        Answer::Commands(plugins) => Ok(answer::document(&with(&plugins))),
        _ => Err(Refused::misunderstood()),
    }
}

fn with(plugins: &[PluginDescription]) -> Value {
    let mut document: Value = serde_json::from_str(FIXED).expect("the fixed part is JSON");
    for plugin in plugins {
        let tag = json!({ "name": plugin.name, "description": plugin.summary });
        if let Some(tags) = document["tags"].as_array_mut() {
            tags.push(tag);
        }
        for command in &plugin.commands {
            let path = format!("/v1/call/{}/{}", plugin.name, command.name);
            document["paths"][path] = path_of(plugin, command);
        }
    }
    document
}

fn path_of(plugin: &PluginDescription, command: &CommandDescription) -> Value {
    let mut path = Map::new();
    path.insert("post".into(), post(plugin, command));
    if command.access == Access::Read {
        path.insert("get".into(), get(plugin, command));
    }
    Value::Object(path)
}

fn operation(plugin: &PluginDescription, command: &CommandDescription, method: &str) -> Value {
    let mut description = format!("`{}`", command.usage());
    if !command.details.is_empty() {
        description.push_str("\n\n");
        description.push_str(&command.details);
    }
    json!({
        "operationId": format!("{}.{}.{method}", plugin.name, command.name),
        "tags": [plugin.name],
        "summary": command.summary,
        "description": description,
        "responses": {
            "200": { "$ref": "#/components/responses/Reply" },
            "default": { "$ref": "#/components/responses/Error" },
        },
    })
}

fn post(plugin: &PluginDescription, command: &CommandDescription) -> Value {
    let mut operation = operation(plugin, command, "post");
    operation["parameters"] = json!([
        { "$ref": "#/components/parameters/read" },
        { "$ref": "#/components/parameters/timeout" },
        { "$ref": "#/components/parameters/idempotency" },
    ]);
    let (least, most) = counts(command);
    operation["requestBody"] = json!({
        "required": least > 0,
        "content": { "application/json": { "schema": array(least, most) } },
    });
    operation
}

fn get(plugin: &PluginDescription, command: &CommandDescription) -> Value {
    let mut operation = operation(plugin, command, "get");
    let (least, most) = counts(command);
    let mut schema = array(least, most);
    schema["items"] = json!({ "type": "string" });
    let mut parameters = json!([
        { "$ref": "#/components/parameters/read" },
        { "$ref": "#/components/parameters/timeout" },
    ]);
    if let (Some(list), true) = (parameters.as_array_mut(), most != Some(0)) {
        list.push(json!({
            "name": "arg", "in": "query", "required": least > 0, "explode": true,
            "description": "The arguments, in order", "schema": schema,
        }));
    }
    operation["parameters"] = parameters;
    operation["responses"]["304"] = json!({ "description": "As If-None-Match says" });
    operation
}

fn array(least: usize, most: Option<usize>) -> Value {
    let mut schema = json!({
        "type": "array",
        "items": { "$ref": "#/components/schemas/Argument" },
        "minItems": least,
    });
    if let Some(most) = most {
        schema["maxItems"] = most.into();
    }
    schema
}

/// The least and the most arguments that a command takes.
fn counts(command: &CommandDescription) -> (usize, Option<usize>) {
    let mut least = 0;
    let mut most = Some(0);
    for argument in &command.arguments {
        let (needs, takes) = match argument.kind {
            ArgumentKind::Required => (1, Some(1)),
            ArgumentKind::Optional | ArgumentKind::Flag(_) => (0, Some(1)),
            ArgumentKind::Keyword(_) => (0, Some(2)),
            ArgumentKind::Repeated => (1, None),
        };
        least += needs;
        most = most.zip(takes).map(|(most, takes)| most + takes);
    }
    (least, most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostd_protocol::{Argument, ArgumentType};

    #[test]
    fn each_command_has_a_path_with_its_methods() {
        let argument = |kind| Argument {
            name: "a".into(),
            kind,
            value: ArgumentType::Bytes,
            is_key: false,
            secret: false,
        };
        let command = |name: &str, access, arguments| CommandDescription {
            name: name.into(),
            access,
            arguments,
            summary: "Does.".into(),
            details: String::new(),
            examples: Vec::new(),
        };
        let plugin = PluginDescription {
            name: "kv".into(),
            version: "1".into(),
            summary: "Keys".into(),
            state_version: 1,
            reads_state_versions: Vec::new(),
            migrates_state_versions: Vec::new(),
            migrates_by_key: false,
            commands: vec![
                command("get", Access::Read, vec![argument(ArgumentKind::Required)]),
                command(
                    "mset",
                    Access::Write,
                    vec![
                        argument(ArgumentKind::Repeated),
                        argument(ArgumentKind::Repeated),
                    ],
                ),
            ],
        };
        let document = with(&[plugin]);
        let get = &document["paths"]["/v1/call/kv/get"];
        assert_eq!(get["get"]["parameters"][2]["schema"]["maxItems"], 1);
        assert_eq!(get["post"]["operationId"], "kv.get.post");
        let mset = &document["paths"]["/v1/call/kv/mset"];
        assert!(mset.get("get").is_none());
        let body = &mset["post"]["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!((&body["minItems"], body.get("maxItems")), (&json!(2), None));
        assert!(document["paths"]["/livez"].is_object());
    }
}
