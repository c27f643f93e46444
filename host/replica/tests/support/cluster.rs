//! Nodes over a network that can be cut, each in a directory below one that is removed at the end.

use std::{path::Path, sync::Arc};

use hostd_protocol::NodeId;
use hostd_replica::{Formation, Replica};

use super::{config, directory_of, log_to_stderr, memory::Hub, open, until_voters};

pub struct Cluster {
    pub hub: Hub,
    pub root: tempfile::TempDir,
}

pub fn address(id: NodeId) -> String {
    format!("node-{id}:1")
}

pub fn join(through: &[NodeId], learner: bool) -> Formation {
    Formation::Join {
        through: through.iter().map(|id| address(*id)).collect(),
        learner,
    }
}

impl Cluster {
    pub fn new() -> Self {
        log_to_stderr();
        Self {
            hub: Hub::default(),
            root: tempfile::tempdir().unwrap(),
        }
    }

    pub async fn start(&self, id: NodeId) -> Replica {
        self.start_in(id, &directory_of(self.root.path(), id), false)
            .await
    }

    /// A node that takes the place of a member of its number, if it `replaces` that.
    pub async fn start_in(&self, id: NodeId, directory: &Path, replaces: bool) -> Replica {
        let mut settings = config(id, &address(id), directory);
        settings.replaces = replaces;
        let transport = Arc::new(self.hub.transport(id, &address(id)));
        open(settings, directory, transport).await.unwrap()
    }

    /// Starts a node and lets it join through node 1.
    pub async fn join(&self, id: NodeId) -> Replica {
        let replica = self.start(id).await;
        replica.form(join(&[1], false)).await.unwrap();
        replica
    }

    pub async fn three(&self) -> [Replica; 3] {
        let first = self.start(1).await;
        first.form(Formation::Alone).await.unwrap();
        let second = self.join(2).await;
        let third = self.join(3).await;
        for replica in [&first, &second, &third] {
            until_voters(replica, 3).await;
        }
        [first, second, third]
    }
}
