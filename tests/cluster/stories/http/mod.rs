//! HTTP, as curl, browsers and attackers speak it.

mod exchanges;
mod health;
mod hostile;
mod identity;
mod keys;
mod protocols;
