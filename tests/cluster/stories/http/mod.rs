//! HTTP, as curl, browsers and attackers speak it.

mod exchanges;
mod health;
mod hostile;
mod keys;
mod protocols;
