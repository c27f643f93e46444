//! Redis's error texts. The code `ERR` and the message are what a Redis client sees.

use hostd_sdk::Rejection;

fn error(message: impl Into<String>) -> Rejection {
    Rejection::new("ERR", message)
}

pub(crate) fn syntax() -> Rejection {
    error("syntax error")
}

pub(crate) fn not_an_integer() -> Rejection {
    error("value is not an integer or out of range")
}

pub(crate) fn overflow() -> Rejection {
    error("increment or decrement would overflow")
}

pub(crate) fn decrement_overflow() -> Rejection {
    error("decrement would overflow")
}

pub(crate) fn no_such_key() -> Rejection {
    error("no such key")
}

pub(crate) fn media_too_long() -> Rejection {
    error("a media type has at most 255 bytes")
}

pub(crate) fn channel_is_no_text() -> Rejection {
    error("a channel is UTF-8")
}

pub(crate) fn invalid_cursor() -> Rejection {
    error("invalid cursor")
}

pub(crate) fn invalid_expire_time(command: &str) -> Rejection {
    error(format!("invalid expire time in '{command}' command"))
}

pub(crate) fn nx_excludes_others() -> Rejection {
    error("NX and XX, GT or LT options at the same time are not compatible")
}

pub(crate) fn gt_excludes_lt() -> Rejection {
    error("GT and LT options at the same time are not compatible")
}
