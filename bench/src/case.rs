//! A load on one system: what the rounds repeat.

use serde::Serialize;

use crate::options::{Options, System};
use crate::shape::Shape;
use crate::system::Work;
use crate::system::hostd::Via;

/// One load on one system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Case {
    /// What is asked.
    pub(crate) work: Work,
    /// By how many, how often at a time.
    pub(crate) shape: Shape,
    /// Who is asked.
    pub(crate) contender: Contender,
}

/// Who is put under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Contender {
    /// hostd, at its leader, with as many connections as suit it best.
    Hostd,
    /// hostd, at its leader, with a connection for each client.
    HostdApart,
    /// hostd, through a follower.
    HostdFollower,
    /// hostd, over the Redis protocol.
    HostdResp,
    /// hostd, of one node, over the Redis protocol.
    HostdRespAlone,
    /// etcd, with as many connections as suit it best.
    Etcd,
    /// etcd, with a connection for each client.
    EtcdApart,
    /// Redis.
    Redis,
}

impl Case {
    /// A load on hostd's leader.
    pub(crate) const fn hostd(work: Work, shape: Shape) -> Self {
        Self::new(work, shape, Contender::Hostd)
    }

    /// A load on any system.
    pub(crate) const fn new(work: Work, shape: Shape, contender: Contender) -> Self {
        Self {
            work,
            shape,
            contender,
        }
    }

    /// Whether the user wants it.
    pub(crate) fn is_wanted(&self, options: &Options) -> bool {
        let system = match self.contender {
            Contender::Hostd
            | Contender::HostdApart
            | Contender::HostdFollower
            | Contender::HostdResp
            | Contender::HostdRespAlone => System::Hostd,
            Contender::Etcd | Contender::EtcdApart => System::Etcd,
            Contender::Redis => System::Redis,
        };
        // redis-benchmark has 50 clients where the others have 64.
        let shape = match self.contender {
            Contender::Redis | Contender::HostdResp | Contender::HostdRespAlone => {
                Shape::new(Shape::MANY.clients, self.shape.in_flight)
            }
            _ => self.shape,
        };
        options.includes(system) && options.wants_shape(shape)
    }
}

impl Contender {
    /// As the tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Contender::Hostd => "hostd",
            Contender::HostdApart => "hostd, a connection each",
            Contender::HostdFollower => "hostd, through a follower",
            Contender::HostdResp => "hostd, redis-benchmark",
            Contender::HostdRespAlone => "hostd, one node, redis-benchmark",
            Contender::Etcd => "etcd",
            Contender::EtcdApart => "etcd, a connection each",
            Contender::Redis => "Redis",
        }
    }

    /// Whether its clients share connections.
    pub(crate) fn shares_connections(self) -> bool {
        matches!(
            self,
            Contender::Hostd | Contender::HostdFollower | Contender::Etcd
        )
    }

    /// Which node hostd's clients are connected to.
    pub(crate) fn via(self) -> Via {
        match self {
            Contender::HostdFollower => Via::Follower,
            _ => Via::Leader,
        }
    }
}
