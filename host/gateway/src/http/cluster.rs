//! The cluster: its members, its plugins, and leaving it.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::Response;
use hostd_protocol::json::{of_command, of_plugin};
use hostd_protocol::{Request as Asked, Response as Answer};
use serde_json::json;

use super::answer;
use super::refused::Refused;
use crate::gateway::Shared;
use crate::{Caller, Service};

/// `GET /v1/status`: a row for each member.
pub(super) async fn status<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Refused> {
    let asked = Asked::Status { all: true };
    match shared.service.handle(&caller, asked).await? {
        Answer::Status(rows) => Ok(answer::document(&rows)),
        _ => Err(Refused::misunderstood()),
    }
}

/// `GET /v1/commands`: what each plugin can do.
pub(super) async fn commands<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Refused> {
    match shared.service.handle(&caller, Asked::Commands).await? {
        Answer::Commands(plugins) => {
            let commands = plugins.iter().flat_map(|plugin| {
                plugin.commands.iter().map(|command| {
                    let mut value = of_command(command);
                    value["plugin"] = json!(plugin.name);
                    value
                })
            });
            Ok(answer::document(&commands.collect::<Vec<_>>()))
        }
        _ => Err(Refused::misunderstood()),
    }
}

/// `GET /v1/plugins`: each plugin with its versions, and the limits.
pub(super) async fn plugins<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Refused> {
    match shared.service.handle(&caller, Asked::Plugins).await? {
        Answer::Plugins(plugins, limits) => {
            let plugins: Vec<_> = plugins.iter().map(of_plugin).collect();
            Ok(answer::document(
                &json!({ "plugins": plugins, "limits": limits }),
            ))
        }
        _ => Err(Refused::misunderstood()),
    }
}
