//! Join tokens: each takes one new node in. What is kept of one is a digest of what proves it.
//!
//! It must not know certificates: that a token is used up is logged before one is issued.

use std::collections::{BTreeMap, BTreeSet};

use hostd_protocol::enroll::{ENROLLED_MAX, TOKEN_ID_BYTES_MAX, TOKEN_TTL_MAX_NS, TOKENS_MAX};
use hostd_protocol::{
    NodeId, Outcome, Rejection, RejectionCode, Reply, TimeNs, TokenChange, TokenInfo,
};
use serde::{Deserialize, Serialize};

use crate::apply::Moment;
use crate::policy::{Action, judge};
use crate::store::{Layers, Table, Writes};
use crate::system::{decode, encode};
use crate::wasm::RULES_TOKENS;
use crate::{Fault, Machine, View};

const TOKENS: &[u8] = b"tokens";

/// All tokens, as one row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Tokens {
    tokens: BTreeMap<String, Token>,
    /// Nodes that were taken in. None of them is taken in again, whatever becomes of it.
    enrolled: BTreeSet<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Token {
    digest: [u8; 32],
    node: Option<NodeId>,
    expires: TimeNs,
}

impl Tokens {
    fn load(layers: &Layers) -> Result<Self, Fault> {
        let row = layers.get_with(&Writes::new(), &Table::System.key(&[TOKENS]))?;
        row.map_or_else(|| Ok(Self::default()), |bytes| decode(&bytes))
    }

    fn create(&mut self, id: String, token: Token) -> Result<(), Rejection> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if id.is_empty() || id.len() > TOKEN_ID_BYTES_MAX || !id.bytes().all(plain) {
            return invalid("a token's id has lower-case letters and digits only, and not many");
        }
        if self.tokens.contains_key(&id) {
            return refuse("taken", "a token has this id; make another");
        }
        if let Some(node) = token.node {
            self.check_new(node)?;
        }
        if self.tokens.len() >= TOKENS_MAX {
            return refuse(
                "too_many",
                "the cluster has as many tokens as it may; revoke some: hostctl token list",
            );
        }
        self.tokens.insert(id, token);
        Ok(())
    }

    fn use_up(&mut self, id: &str, digest: [u8; 32], node: NodeId) -> Result<(), Rejection> {
        let Some(token) = self.tokens.get(id).filter(|token| token.digest == digest) else {
            return refuse("bad_token", UNKNOWN);
        };
        if let Some(meant) = token.node.filter(|meant| *meant != node) {
            let message = format!("the token is for node {meant}, not for node {node}");
            return refuse("bad_token", &message);
        }
        self.check_new(node)?;
        if self.enrolled.len() >= ENROLLED_MAX {
            return refuse(
                "too_many",
                "the cluster has taken in as many nodes as it may",
            );
        }
        self.tokens.remove(id);
        self.enrolled.insert(node);
        Ok(())
    }

    fn check_new(&self, node: NodeId) -> Result<(), Rejection> {
        if node == 0 {
            return invalid("node numbers start at 1");
        }
        if self.enrolled.contains(&node) {
            return refuse(
                "node_known",
                &format!(
                    "node {node} was taken in before, and a token takes in new nodes only: choose another --node-id"
                ),
            );
        }
        Ok(())
    }
}

/// What somebody hears who has no token that counts. Whether there was one, nobody learns.
const UNKNOWN: &str = "no such token: it was used, revoked, has expired, or is mistyped; make another with `hostctl token create`";

impl Machine {
    pub(crate) fn change_tokens(
        &mut self,
        moment: &Moment<'_>,
        principal: &str,
        change: TokenChange,
    ) -> Result<Outcome, Fault> {
        if self.rules() < RULES_TOKENS {
            return Ok(invalid("the rules in force know no tokens"));
        }
        let mut tokens = Tokens::load(self.layers())?;
        let before = tokens.clone();
        tokens.tokens.retain(|_, token| token.expires > moment.now);
        let changed = match change {
            TokenChange::Use { id, digest, node } => tokens.use_up(&id, digest, node),
            TokenChange::Create {
                id,
                digest,
                node,
                ttl_ns,
            } => judge(&self.policy, principal, Action::Administer).and_then(|()| {
                if ttl_ns == 0 || ttl_ns > TOKEN_TTL_MAX_NS {
                    return invalid("a token lasts for some time, and for 30 days at most");
                }
                let expires = moment.now.saturating_add(ttl_ns);
                tokens.create(
                    id,
                    Token {
                        digest,
                        node,
                        expires,
                    },
                )
            }),
            TokenChange::Revoke { id } => judge(&self.policy, principal, Action::Administer)
                .and_then(|()| match tokens.tokens.remove(&id) {
                    Some(_) => Ok(()),
                    None => Err(Rejection::new(
                        RejectionCode::NotFound,
                        "no such token; hostctl token list shows those that there are",
                    )),
                }),
        };
        if tokens != before {
            let row = encode(&tokens).into();
            let layers = self.layers.as_mut().expect("no command is running");
            layers.set(Table::System.key(&[TOKENS]), Some(row), moment.revision);
        }
        Ok(changed.map(|()| Reply::Ok))
    }
}

impl View {
    /// Whether a token would be used up now; why not otherwise. So that nothing is logged for whoever has
    /// none: what is logged decides.
    pub fn check_token(
        &self,
        id: &str,
        digest: [u8; 32],
        node: NodeId,
    ) -> Result<Result<(), Rejection>, Fault> {
        let mut tokens = Tokens::load(&self.layers)?;
        let now = self.time();
        tokens.tokens.retain(|_, token| token.expires > now);
        Ok(tokens.use_up(id, digest, node))
    }

    /// The tokens that are of use now, by id.
    pub fn tokens(&self) -> Result<Vec<TokenInfo>, Fault> {
        let tokens = Tokens::load(&self.layers)?;
        let useful = tokens
            .tokens
            .into_iter()
            .filter(|(_, token)| token.expires > self.time());
        Ok(useful
            .map(|(id, token)| TokenInfo {
                id,
                node: token.node,
                expires: token.expires,
            })
            .collect())
    }
}

fn refuse<T>(code: &str, message: &str) -> Result<T, Rejection> {
    Err(Rejection::new(
        RejectionCode::Rejected(code.to_owned()),
        message,
    ))
}

fn invalid<T>(message: &str) -> Result<T, Rejection> {
    Err(Rejection::new(RejectionCode::InvalidArgument, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(node: Option<NodeId>) -> Token {
        Token {
            digest: [7; 32],
            node,
            expires: 100,
        }
    }

    #[test]
    fn a_token_is_used_once_by_who_has_it_for_the_node_that_it_is_for() {
        let mut tokens = Tokens::default();
        tokens.create("a".into(), token(Some(4))).unwrap();
        tokens.create("b".into(), token(None)).unwrap();
        assert!(tokens.create("a".into(), token(None)).is_err());
        assert!(tokens.create("A/".into(), token(None)).is_err());
        assert!(tokens.use_up("a", [8; 32], 4).is_err());
        assert!(tokens.use_up("a", [7; 32], 5).is_err());
        tokens.use_up("a", [7; 32], 4).unwrap();
        assert!(tokens.use_up("a", [7; 32], 4).is_err());
        assert!(tokens.use_up("b", [7; 32], 4).is_err(), "4 was taken in");
        assert!(tokens.create("c".into(), token(Some(4))).is_err());
        tokens.use_up("b", [7; 32], 5).unwrap();
    }
}
