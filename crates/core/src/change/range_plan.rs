//! Plans a change of the ephemeral range: the bounds checked before anything is touched, each with its reason.
//!
//! Source: Documentation/networking/ip-sysctl.rst (`ip_local_port_range`, `ip_unprivileged_port_start`),
//! sysctl.d(5) (which file wins). Linux: one range for both transports and families.

use super::{Action, Place, Plan, Step, Store};
use crate::port::PortRange;
use crate::snapshot::Gap;

/// Linux' range where nobody set another.
pub const LINUX_DEFAULT: (u16, u16) = (32768, 60999);

/// Below this many ports Windows refuses a range, and any system soon runs out.
const FEW: u32 = 255;

/// Which of the two values a change concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stores {
    /// The running kernel and our file.
    Both,
    /// The running kernel alone: gone after a restart.
    Runtime,
    /// Our file alone: from the next restart on.
    Persist,
}

impl Stores {
    /// Whether the running kernel is concerned.
    pub fn runtime(self) -> bool {
        self != Self::Persist
    }

    /// Whether our file is concerned.
    pub fn persist(self) -> bool {
        self != Self::Runtime
    }
}

/// What a file says about a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileValue {
    /// The file.
    pub path: String,
    /// The value, as it stands there.
    pub value: String,
}

/// How the range stands before the change.
#[derive(Clone, Debug)]
pub struct RangeNow {
    /// What the running kernel has.
    pub runtime: PortRange,
    /// What our file says.
    pub own: Option<PortRange>,
    /// Path of our file.
    pub path: String,
    /// A file read after ours that names the setting too, and so wins after a restart.
    pub later: Option<FileValue>,
    /// A file read before ours that names the setting: it speaks again once ours is silent.
    pub earlier: Option<FileValue>,
    /// `ip_unprivileged_port_start`.
    pub unprivileged_start: Option<u32>,
    /// Ports that this machine's programs listen on and nobody reserved, with the program, as far as seen; rising.
    pub listeners: Vec<(u16, String)>,
    /// Whether this is the network namespace of pid 1, where that is known.
    pub initial_namespace: Option<bool>,
    /// What of the files could not be read: then a file is not changed.
    pub gaps: Vec<Gap>,
}

/// Refuses to change a file where not all files could be read.
pub(super) fn files_are_known(gaps: &[Gap], stores: Stores) -> Result<(), String> {
    match gaps.first().filter(|_| stores.persist()) {
        None => Ok(()),
        Some(gap) => {
            let remedy = gap.remedy.as_deref().unwrap_or("mend that first");
            Err(format!("{}: {}; {remedy}, or change the kernel alone with --runtime", gap.what, gap.detail))
        }
    }
}

/// A step on our file; where it is the only one, it says when it takes effect.
pub(super) fn file_step(action: Action, stores: Stores) -> Step {
    let step = Step::new(action);
    if stores.runtime() { step } else { step.affecting("takes effect at the next restart") }
}

/// The plan that sets the range to `wanted`, or (with `None`) back to the system's default and our file silent.
/// An error is the reason why it is refused, in one line.
pub fn plan_range(
    now: &RangeNow,
    wanted: Option<PortRange>,
    stores: Stores,
    (title, place): (&str, Place),
) -> Result<Plan, String> {
    let target = match wanted {
        Some(range) => range,
        None => PortRange::new(LINUX_DEFAULT.0, LINUX_DEFAULT.1).map_err(|error| error.to_string())?,
    };
    check_bounds(target, now.unprivileged_start)?;
    files_are_known(&now.gaps, stores)?;
    let mut steps = Vec::new();
    if stores.persist() && now.own != wanted {
        let store = Store::File(now.path.clone());
        steps.push(file_step(Action::SetRange { store, from: now.own, to: wanted }, stores));
    }
    if stores.runtime() && now.runtime != target {
        steps.push(Step::new(Action::SetRange {
            store: Store::Runtime,
            from: Some(now.runtime),
            to: Some(target),
        }));
    }
    let warnings = warnings(now, wanted, target, stores);
    Ok(Plan { title: title.into(), note: None, place, steps, warnings })
}

fn check_bounds(range: PortRange, unprivileged_start: Option<u32>) -> Result<(), String> {
    match unprivileged_start {
        Some(start) if u32::from(range.first()) < start => Err(format!(
            "{range} begins below {start}, where only privileged programs may bind \
             (net.ipv4.ip_unprivileged_port_start): the kernel refuses such a range. Begin at {start} or above"
        )),
        _ => Ok(()),
    }
}

fn warnings(now: &RangeNow, wanted: Option<PortRange>, target: PortRange, stores: Stores) -> Vec<String> {
    let mut warnings = Vec::new();
    if target.count() < FEW {
        warnings.push(format!(
            "{} ports are few: outgoing connections to one destination end there",
            target.count()
        ));
    }
    let inside: Vec<_> = now.listeners.iter().filter(|(port, _)| target.contains(*port)).collect();
    if !inside.is_empty() {
        let who: Vec<String> = inside.iter().map(|(port, who)| format!("{port} ({who})")).collect();
        let mut ports: Vec<String> = inside.iter().map(|(port, _)| port.to_string()).collect();
        ports.dedup();
        warnings.push(format!(
            "inside the new range listen {}: a client may take such a port while its program is down. \
             Keep them: portolan reserve add {}",
            who.join(", "),
            ports.join(" ")
        ));
    }
    if stores.persist() {
        let says = |file: &FileValue| format!("{} says {}", file.path, file.value);
        if let Some(later) = &now.later {
            warnings.push(format!("{} and is read after our file: it wins after a restart", says(later)));
        }
        if let (None, Some(earlier)) = (wanted, &now.earlier) {
            warnings.push(format!("{}: that is what holds after a restart", says(earlier)));
        }
        if now.initial_namespace != Some(true) {
            warnings.push(outside_initial(&now.path));
        }
    }
    warnings
}

/// What to know before a file is written from inside a container or namespace.
pub(super) fn outside_initial(path: &str) -> String {
    format!(
        "this is not the machine's first network namespace (or that cannot be told): \
         {path} speaks for the whole machine, the kernel's value for this namespace alone"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> PortRange {
        text.parse().unwrap()
    }

    fn now() -> RangeNow {
        RangeNow {
            runtime: range("32768-60999"),
            own: None,
            path: "/etc/sysctl.d/60-portolan.conf".into(),
            later: None,
            earlier: None,
            unprivileged_start: Some(1024),
            listeners: vec![(80, "nginx".into()), (50051, "grpc".into()), (61616, "amq".into())],
            initial_namespace: Some(true),
            gaps: Vec::new(),
        }
    }

    fn plan(now: &RangeNow, wanted: &str, stores: Stores) -> Result<Plan, String> {
        plan_range(now, Some(range(wanted)), stores, ("range set", Place::default()))
    }

    #[test]
    fn a_set_changes_the_file_first_and_then_the_kernel() {
        let plan = plan(&now(), "49152-65535", Stores::Both).unwrap();
        let said: Vec<String> = plan.steps.iter().map(|step| step.action.to_string()).collect();
        assert_eq!(
            said,
            [
                "file /etc/sysctl.d/60-portolan.conf: ephemeral range nothing → 49152-65535",
                "kernel: ephemeral range 32768-60999 → 49152-65535"
            ]
        );
        assert_eq!(plan.warnings.len(), 1);
        assert_eq!(
            plan.warnings[0],
            "inside the new range listen 50051 (grpc), 61616 (amq): a client may take such a port while its \
             program is down. Keep them: portolan reserve add 50051 61616"
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_keeps_ours_from_being_changed() {
        let gap = Gap::new("files", crate::snapshot::GapReason::Denied, "/etc/sysctl.d/99-x.conf: denied");
        let now = RangeNow { gaps: vec![gap.with_remedy("run as root")], ..now() };
        let refused = plan(&now, "40000-50000", Stores::Both).unwrap_err();
        assert!(refused.contains("99-x.conf") && refused.contains("--runtime"), "{refused}");
        assert!(plan(&now, "40000-50000", Stores::Runtime).is_ok());
    }

    #[test]
    fn a_change_of_the_file_alone_says_when_it_takes_effect() {
        let plan = plan(&now(), "40000-50000", Stores::Persist).unwrap();
        assert_eq!(plan.steps.len(), 1);
        assert_eq!(plan.steps[0].effects, ["takes effect at the next restart"]);
    }

    #[test]
    fn a_range_below_the_unprivileged_start_is_refused_before_anything_is_touched() {
        let refused = plan(&now(), "1000-2000", Stores::Both).unwrap_err();
        assert!(refused.starts_with("1000-2000 begins below 1024"), "{refused}");
        assert!(plan(&RangeNow { unprivileged_start: Some(0), ..now() }, "1000-2000", Stores::Both).is_ok());
    }

    #[test]
    fn a_later_file_and_a_foreign_namespace_are_told() {
        let later = Some(FileValue { path: "/etc/sysctl.conf".into(), value: "1024 65535".into() });
        let now = RangeNow { later, initial_namespace: Some(false), ..now() };
        let told = plan(&now, "49152-49160", Stores::Both).unwrap().warnings.join("\n");
        assert!(told.contains("9 ports are few"), "{told}");
        assert!(told.contains("/etc/sysctl.conf says 1024 65535 and is read after our file"), "{told}");
        assert!(told.contains("speaks for the whole machine"), "{told}");
        let runtime = plan(&now, "40000-50000", Stores::Runtime).unwrap();
        assert_eq!(runtime.warnings, [] as [String; 0]);
    }

    #[test]
    fn what_is_so_already_needs_no_step() {
        let now = RangeNow { own: Some(range("32768-60999")), ..now() };
        assert_eq!(plan(&now, "32768-60999", Stores::Both).unwrap().steps, []);
        let reset = plan_range(&now, None, Stores::Both, ("range reset", Place::default())).unwrap();
        assert_eq!(reset.steps.len(), 1, "only our file is to fall silent");
    }
}
