//! `/metrics`: what the replica, the machine and the service have counted, in the text format of
//! OpenMetrics 1.0. Names are etcd's with another prefix, where etcd has them.

mod calls;

use std::fmt;

use hostd_machine::View;
use hostd_protocol::NodeStatus;
use hostd_replica::{Distribution, Replica};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

pub(crate) use calls::Calls;

/// Everything that there is to tell at this moment.
pub(crate) fn render(replica: &Replica, status: NodeStatus, view: &View, calls: &Calls) -> String {
    let mut registry = Registry::with_prefix("hostd");
    let plugins = view.catalogue().spent();
    let spent =
        plugins.map(|(name, spent)| (name.to_owned(), spent.runs(), spent.traps(), spent.fuel()));
    let usage = view.plugins().into_iter();
    registry.register_collector(Box::new(Snapshot {
        replica: replica.clone(),
        status,
        spent: spent.collect(),
        usage: usage
            .map(|plugin| (plugin.name, plugin.keys, plugin.data_bytes))
            .collect(),
        calls: calls.clone(),
    }));
    let mut told = String::new();
    text::encode(&mut told, &registry).expect("a string takes everything");
    told
}

struct Snapshot {
    replica: Replica,
    status: NodeStatus,
    /// Name, runs, traps, fuel.
    spent: Vec<(String, u64, u64, u64)>,
    /// Name, keys, bytes.
    usage: Vec<(String, u64, u64)>,
    calls: Calls,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Snapshot").finish_non_exhaustive()
    }
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.server(&mut page)?;
        self.disk_and_network(&mut page)?;
        self.plugins(&mut page)?;
        self.commands(&mut page)
    }
}

impl Snapshot {
    fn server(&self, page: &mut Page<'_>) -> fmt::Result {
        let replica = &self.replica;
        let measures = replica.measures();
        let has_leader = replica.leadership().borrow().leader.is_some();
        page.gauge(
            "server_has_leader",
            "Whether this node knows a leader",
            has_leader.into(),
        )?;
        page.gauge(
            "server_is_leader",
            "Whether this node leads",
            self.status.leader.into(),
        )?;
        page.counter(
            "server_leader_changes_seen",
            "Times that this node saw another leader",
            measures.leader_changes(),
        )?;
        page.counter(
            "server_proposals_committed",
            "Log index of the last entry known to be committed",
            replica.committed_index(),
        )?;
        page.counter(
            "server_proposals_applied",
            "Log index of the last entry applied",
            self.status.applied,
        )?;
        page.gauge(
            "server_proposals_pending",
            "Commands that wait to be committed",
            replica.proposals_pending() as u64,
        )?;
        page.counter(
            "server_proposals_failed",
            "Commands whose proposal failed, or was refused for want of room",
            measures.failed(),
        )?;
        page.family(
            "server_version",
            "The version of hostd that runs",
            MetricType::Gauge,
            [([("server_version", self.status.version.as_str())], 1)],
            |mut encoder, value| encoder.encode_gauge(&value),
        )
    }

    fn disk_and_network(&self, page: &mut Page<'_>) -> fmt::Result {
        let measures = self.replica.measures();
        page.histogram(
            "disk_wal_fsync_duration_seconds",
            "Time of one commit of the log, with its sync",
            &measures.log_commit,
        )?;
        page.histogram(
            "disk_backend_commit_duration_seconds",
            "Time of one write of a checkpoint to the state's file",
            &measures.checkpoint,
        )?;
        page.gauge(
            "mvcc_db_total_size_in_bytes",
            "Size of the two database files",
            self.status.data_bytes,
        )?;
        let round_trips = measures.round_trips();
        page.family(
            "network_peer_round_trip_time_seconds",
            "Round trip to another member, looked at once a second",
            MetricType::Histogram,
            round_trips
                .into_iter()
                .map(|(id, took)| ([("To", id.to_string())], took)),
            |encoder, took| distribution(encoder, &took),
        )
    }

    fn plugins(&self, page: &mut Page<'_>) -> fmt::Result {
        let spent = |pick: fn(&(String, u64, u64, u64)) -> u64| {
            self.spent
                .iter()
                .map(move |plugin| ([("plugin", plugin.0.as_str())], pick(plugin)))
        };
        page.counters(
            "plugin_runs",
            "Runs of the plugin's code on this node: entries applied, timers, and queries",
            spent(|plugin| plugin.1),
        )?;
        page.counters(
            "plugin_traps",
            "Runs that trapped",
            spent(|plugin| plugin.2),
        )?;
        page.counters(
            "plugin_fuel",
            "Fuel that the runs used",
            spent(|plugin| plugin.3),
        )?;
        let usage = |pick: fn(&(String, u64, u64)) -> u64| {
            self.usage
                .iter()
                .map(move |plugin| ([("plugin", plugin.0.as_str())], pick(plugin)))
        };
        page.gauges(
            "plugin_keys",
            "Keys in the plugin's state",
            usage(|plugin| plugin.1),
        )?;
        page.gauges(
            "plugin_state_bytes",
            "Size of keys and values in the plugin's state",
            usage(|plugin| plugin.2),
        )
    }

    fn commands(&self, page: &mut Page<'_>) -> fmt::Result {
        let all = self.calls.all();
        let each = || {
            all.iter().map(|((plugin, command), calls)| {
                (
                    [("plugin", plugin.as_str()), ("command", command.as_str())],
                    calls,
                )
            })
        };
        page.counters(
            "command_calls",
            "Calls that clients of this node made; those of no plugin's command have empty names",
            each().map(|(labels, calls)| {
                let count = calls.took.buckets().iter().map(|(_, count)| count).sum();
                (labels, count)
            }),
        )?;
        page.counters(
            "command_rejections",
            "Calls that were answered with an error, by its code",
            each().flat_map(|([plugin, command], calls)| {
                calls.failed().into_iter().map(move |(code, count)| {
                    let own = |(name, value): (&'static str, &str)| (name, value.to_owned());
                    ([own(plugin), own(command), ("code", code)], count)
                })
            }),
        )?;
        page.family(
            "command_duration_seconds",
            "Time from a call's arrival at this node to its answer",
            MetricType::Histogram,
            each(),
            |encoder, calls| distribution(encoder, &calls.took),
        )
    }
}

/// A page of metrics that is being written.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Gauge)?
            .encode_gauge(&value)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn histogram(&mut self, name: &str, help: &str, values: &Distribution) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Histogram)?;
        distribution(encoder, values)
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        self.family(
            name,
            help,
            MetricType::Counter,
            values,
            |mut encoder, value| encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
        )
    }

    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        self.family(
            name,
            help,
            MetricType::Gauge,
            values,
            |mut encoder, value| encoder.encode_gauge(&value),
        )
    }

    fn family<L: EncodeLabelSet, T>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        values: impl IntoIterator<Item = (L, T)>,
        encode: impl Fn(MetricEncoder<'_>, T) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in values {
            encode(family.encode_family(&labels)?, value)?;
        }
        Ok(())
    }
}

fn distribution(mut encoder: MetricEncoder<'_>, values: &Distribution) -> fmt::Result {
    let buckets = values.buckets();
    let count = buckets.iter().map(|(_, count)| count).sum();
    encoder.encode_histogram::<NoLabelSet>(values.sum_seconds(), count, &buckets, None)
}
