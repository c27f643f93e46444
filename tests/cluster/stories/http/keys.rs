//! Values with media types, and keys that look alike.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::support::http::{ask, get};
use crate::support::story;

/// Every byte there is.
fn bytes() -> Vec<u8> {
    (0..=255).collect()
}

#[test]
fn a_value_with_media_type_round_trips_through_every_node() {
    story(3, |cluster| {
        let value = bytes();
        let kind = [("Content-Type", "image/png")];
        let written = ask(&cluster.address(1)?, "PUT", "/keys/logo", &kind, &value)?;
        ensure!(written.status == 200, "{}", written.text());
        let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0BBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWltcXV5fYGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6e3x9fn+AgYKDhIWGh4iJiouMjY6PkJGSk5SVlpeYmZqbnJ2en6ChoqOkpaanqKmqq6ytrq+wsbKztLW2t7i5uru8vb6/wMHCw8TFxsfIycrLzM3Oz9DR0tPU1dbX2Nna29zd3t/g4eLj5OXm5+jp6uvs7e7v8PHy8/T19vf4+fr7/P3+/w==";
        let expected = json!({
            "Status": "ok", "Error": "", "Data": { "Data": base64, "Type": "image/png" },
        });
        let mut tags = Vec::new();
        for address in cluster.addresses() {
            let read = get(&address, "/keys/logo")?;
            ensure!(read.json()? == expected, "{}", read.text());
            tags.push(read.header("etag").map(str::to_owned));
        }
        ensure!(
            tags[0].is_some() && tags.iter().all(|tag| *tag == tags[0]),
            "{tags:?}"
        );
        Ok(())
    });
}

#[test]
fn foo_is_not_foobar() {
    story(1, |cluster| {
        let address = cluster.address(1)?;
        let status = |method: &str, key: &str| -> Result<u16> {
            Ok(ask(&address, method, &format!("/keys/{key}"), &[], b"")?.status)
        };
        let keys = [
            "foo", "foobar", "foo/bar", "foo.bar", "foo.", "f.o.o", "../foo",
        ];
        for key in keys {
            ensure!(status("PUT", key)? == 200, "{key}");
        }
        for (count, key) in keys.iter().enumerate() {
            ensure!(status("DELETE", key)? == 200, "{key} is removed");
            ensure!(status("DELETE", key)? == 404, "{key} is gone");
            for (place, other) in keys.iter().enumerate() {
                let expected = if place <= count { 404 } else { 200 };
                ensure!(
                    status("GET", other)? == expected,
                    "{other} after {key} was removed"
                );
            }
        }
        Ok(())
    });
}
