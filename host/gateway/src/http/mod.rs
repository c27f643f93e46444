//! HTTP/1.1 and HTTP/2: plugin commands, keys, members, health and metrics for curl, browsers and
//! whoever has an HTTP library.
//!
//! A request comes through [`connection`] (how much of the node a connection may take), [`admit`] (how
//! many requests at once, and what every answer has) and [`identity`] (who asks); then a file for each
//! group of routes says it as a [`hostd_protocol::Request`], asks the service, and renders the answer.
//! What it must not know: what a command does, and who may call it.

mod admit;
mod answer;
mod backlog;
mod body;
mod calls;
mod cluster;
mod connection;
mod dashboard;
mod health;
mod identity;
mod keys;
mod members;
mod metrics;
mod openapi;
mod parse;
mod policy;
mod refused;
mod router;
mod watch;

pub(crate) use connection::Door;
