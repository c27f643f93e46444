//! Who may ask, where a password is asked for.

use anyhow::ensure;

use crate::support::http::{ask, get};
use crate::support::story;

#[test]
fn a_password_is_asked_for_and_taken_in_both_forms() {
    story(0, |cluster| {
        let mut launch = cluster.launch(1)?;
        launch.flags = vec!["--auth".to_owned(), "open sesame".to_owned()];
        cluster.start(launch)?;
        let address = cluster.address(1)?;
        for path in [
            "/",
            "/v1/status",
            "/metrics",
            "/openapi.json",
            "/keys/k",
            "/nothing",
        ] {
            let refused = get(&address, path)?;
            ensure!(refused.status == 401, "{path}: {}", refused.status);
            ensure!(refused.header("www-authenticate").is_some(), "{path}");
        }
        for path in ["/livez", "/readyz"] {
            ensure!(
                get(&address, path)?.status == 200,
                "{path} asks nobody who they are"
            );
        }
        // `default:open sesame`, `:open sesame` and `:closed`.
        for (credentials, status) in [
            ("Basic ZGVmYXVsdDpvcGVuIHNlc2FtZQ==", 200),
            ("Basic Om9wZW4gc2VzYW1l", 200),
            ("Bearer open sesame", 200),
            ("Basic OmNsb3NlZA==", 401),
            ("Bearer closed", 401),
            ("Basic", 401),
        ] {
            let headers = [("Authorization", credentials)];
            let answer = ask(&address, "GET", "/v1/status", &headers, b"")?;
            ensure!(answer.status == status, "{credentials}: {}", answer.text());
            // Who proves who they are may use any name.
            let headers = [("Authorization", credentials), ("Host", "db.example")];
            let answer = ask(&address, "GET", "/v1/commands", &headers, b"")?;
            ensure!(answer.status == status, "{credentials}: {}", answer.text());
        }
        Ok(())
    });
}
