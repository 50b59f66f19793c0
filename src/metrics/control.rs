//! The metrics of what operators decide at run time.

use prometheus_client::registry::Registry;

use super::{Counter, Described, Gauge, register, register_all};

/// What operators decide, and how far it has come.
#[derive(Debug, Default)]
pub struct ControlMetrics {
    /// Blocks in force now.
    pub blocks: Gauge,
    /// Decisions about blocks that the control topic does not say yet.
    pub blocks_unshared: Gauge,
    /// 1 while what is decided of blocks could not be written to the disk.
    pub blocks_unsaved: Gauge,
    /// 1 while the control topic is read to its end and says what this host knows.
    pub control_in_step: Gauge,
    /// 1 while the configuration that was read last is in force.
    pub config_ok: Gauge,
    /// When the one in force was read, in seconds since 1970.
    pub config_seconds: Gauge,
    /// Lines of the audit trail that could not be written.
    pub audit_failures: Counter,
}

impl ControlMetrics {
    pub(super) fn new(registry: &mut Registry, described: &mut Vec<Described>) -> Self {
        let this = Self::default();
        let gauges = [
            ("tidegate_blocks", "Blocks in force now", &this.blocks),
            (
                "tidegate_blocks_unshared",
                "Decisions about blocks that the control topic does not say yet",
                &this.blocks_unshared,
            ),
            (
                "tidegate_blocks_unsaved",
                "1 while decisions about blocks could not be written to the disk",
                &this.blocks_unsaved,
            ),
            (
                "tidegate_control_in_step",
                "1 while the control topic is read to its end and says what this host knows",
                &this.control_in_step,
            ),
            (
                "tidegate_config_ok",
                "1 while the configuration that was read last is in force",
                &this.config_ok,
            ),
            (
                "tidegate_config_timestamp_seconds",
                "When the configuration in force was read, in seconds since 1970",
                &this.config_seconds,
            ),
        ];
        register_all((registry, described), &gauges);
        let help = "Lines of the audit trail that could not be written";
        register((registry, described), ("tidegate_audit_failures", help), &this.audit_failures);
        this
    }
}
