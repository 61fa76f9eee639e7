//! Many ports, in namespaces of this benchmark's own: loopback, a host behind a firewall, a network that is mostly
//! silent, and the same behind a line that delays and loses packets. What each contender found is counted: to be fast
//! by missing ports is no merit. Nobody talks to the ports that are open (`--bare`).
//!
//! RustScan is built from crates.io into `target/peers` the first time; where that fails, the others run without it.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use portolan_testbed::{Held, Impaired, Impairment, Namespace};

use super::{Contender, Programs, race, table, verdict};
use crate::{cargo, packages, target_folder};

/// One layout, and who is raced on it.
struct Course<'a> {
    title: &'a str,
    namespace: &'a Namespace,
    targets: &'a str,
    ports: &'a str,
    /// How many ports are open.
    open: usize,
    nmap: &'a str,
    runs: usize,
    /// Ours to nmap's, to RustScan's; peak memory in MiB.
    goals: [Option<f64>; 3],
}

/// Measures and prints; whether every goal was met.
pub(super) fn bench(programs: &Programs, quick: bool) -> anyhow::Result<bool> {
    let rustscan = install_rustscan();
    let rustscan = rustscan.map_err(|error| println!("\nprobe: without RustScan: {error:#}")).ok();
    let runs = if quick { 3 } else { 20 };
    let met = [
        loopback(programs, rustscan.as_deref(), runs)?,
        firewall(programs, rustscan.as_deref(), runs.min(7))?,
        silent(programs, rustscan.as_deref(), runs.min(3))?,
        impaired(programs, rustscan.as_deref(), runs.min(3))?,
    ];
    Ok(!met.contains(&false))
}

fn loopback(programs: &Programs, rustscan: Option<&str>, runs: usize) -> anyhow::Result<bool> {
    let namespace = Namespace::new();
    let words: Vec<String> =
        (0..100).map(|n| format!("tcp-listen 127.0.0.1:{} --backlog 4096", 200 + n * 650)).collect();
    let _held = Held::new(&namespace, &words.join(" "));
    let course = Course {
        title: "65,535 ports of loopback",
        namespace: &namespace,
        targets: "127.0.0.1",
        ports: "1-65535",
        open: 100,
        nmap: "-T5 --min-rate 100000",
        runs,
        goals: [Some(0.5), Some(0.2), Some(64.0)],
    };
    measure(programs, rustscan, &course)
}

fn firewall(programs: &Programs, rustscan: Option<&str>, runs: usize) -> anyhow::Result<bool> {
    let (near, far) = (Namespace::new(), Namespace::new());
    near.link("10.9.0.1/24", &far, "10.9.0.2/24");
    let words: Vec<String> = (1..=50).map(|n| format!("tcp-listen 10.9.0.2:{n} --backlog 4096")).collect();
    let _held = Held::new(&far, &words.join(" "));
    load(&far, "tcp dport 101-1000 drop")?;
    let course = Course {
        title: "1,000 ports of a host whose firewall drops 900",
        namespace: &near,
        targets: "10.9.0.2",
        ports: "1-1000",
        open: 50,
        nmap: "-T4",
        runs,
        goals: [None; 3],
    };
    measure(programs, rustscan, &course)
}

/// A network behind that namespace: ten hosts with ten open ports each, and silence.
fn lay_network(near: &Namespace, far: &Namespace) -> anyhow::Result<Held> {
    typed(near, "ip route add 10.50.0.0/24 via 10.9.0.2")?;
    typed(far, "ip route add local 10.50.0.0/24 dev lo")?;
    load(far, "ip daddr 10.50.0.0/24 ip daddr != 10.50.0.1-10.50.0.10 drop")?;
    let words: Vec<String> =
        (1..=10).map(|n| format!("tcp-listen 0.0.0.0:{} --backlog 4096", n * 10)).collect();
    Ok(Held::new(far, &words.join(" ")))
}

fn silent(programs: &Programs, rustscan: Option<&str>, runs: usize) -> anyhow::Result<bool> {
    let (near, far) = (Namespace::new(), Namespace::new());
    near.link("10.9.0.1/24", &far, "10.9.0.2/24");
    let _held = lay_network(&near, &far)?;
    measure(programs, rustscan, &network("254 addresses, 244 of them silent, 100 ports each", &near, runs))
}

fn impaired(programs: &Programs, rustscan: Option<&str>, runs: usize) -> anyhow::Result<bool> {
    let (near, far) = (Namespace::new(), Namespace::new());
    let impairment = Impairment { delay: Duration::from_millis(25), lost_per_mille: 20, seed: 5 };
    let _line = Impaired::new(&near, "10.9.0.1/24", &far, "10.9.0.2/24", impairment);
    let _held = lay_network(&near, &far)?;
    let title = "the same, 50 ms away, 2 % lost in each direction";
    measure(programs, rustscan, &network(title, &near, runs))
}

const fn network<'a>(title: &'a str, namespace: &'a Namespace, runs: usize) -> Course<'a> {
    Course {
        title,
        namespace,
        targets: "10.50.0.0/24",
        ports: "1-100",
        open: 100,
        nmap: "-T4",
        runs,
        goals: [None; 3],
    }
}

fn measure(programs: &Programs, rustscan: Option<&str>, course: &Course) -> anyhow::Result<bool> {
    let Course { title, namespace, targets, ports, open, nmap, runs, goals } = course;
    println!("\nprobe: {title}, {open} ports open");
    let mut contenders = vec![
        programs.portolan(&format!("probe {targets} --ports {ports} --bare --json")),
        Contender::peer(&format!("nmap -n -Pn -sT -p{ports} {nmap} -oG - {targets}")),
    ];
    if let Some(rustscan) = rustscan {
        let arguments = format!("--no-config --greppable --ulimit 10000 -a {targets} -r {ports}");
        contenders.push(Contender::new(format!("rustscan {arguments}"), rustscan, &arguments));
    }
    race(namespace, &mut contenders, *runs);
    table::print(&contenders);
    let mut met = true;
    for (number, contender) in contenders.iter().enumerate() {
        // What was ended for its slowness would take as long again to be counted.
        let finished = contender.runs.iter().filter(|run| !run.cut);
        let found: Vec<usize> = finished.map(|_| found(contender, namespace)).collect::<Result<_, _>>()?;
        let (least, most) = (found.iter().min(), found.iter().max());
        let whole = found.iter().all(|found| found == open);
        met &= whole || number > 0;
        println!(
            "  {}: found {} to {} of {open} in {} runs{}",
            contender.label,
            least.unwrap_or(&0),
            most.unwrap_or(&0),
            found.len(),
            if number == 0 { format!(" (goal: all in each): {}", verdict(whole)) } else { String::new() },
        );
    }
    let [to_nmap, to_rustscan, memory] = goals;
    let ours = &contenders[0];
    // Exit code 1 says that not every port is open, which is so here.
    met &= ratio(ours, &contenders[1], *to_nmap);
    if let Some(rustscan) = contenders.get(2) {
        met &= ratio(ours, rustscan, *to_rustscan);
    }
    if let Some(goal) = memory {
        let within = ours.peak_mib() < *goal;
        println!(
            "  {} peaks at {:.1} MiB (goal: below {goal}): {}",
            ours.label,
            ours.peak_mib(),
            verdict(within)
        );
        met &= within;
    }
    Ok(met)
}

/// Prints how our median compares: `probe` ends with 1 where a port is not open, which [`table::ratio`] takes for a failure.
fn ratio(ours: &Contender, theirs: &Contender, goal: Option<f64>) -> bool {
    let ratio = ours.median() / theirs.median();
    let met = goal.is_none_or(|goal| ratio <= goal);
    let held = goal.map_or_else(String::new, |goal| format!("  (goal: at most {goal}): {}", verdict(met)));
    println!("  {} / {} = {ratio:.3}{held}", ours.label, theirs.label);
    met
}

/// How many open ports a contender finds in one more run.
fn found(contender: &Contender, namespace: &Namespace) -> anyhow::Result<usize> {
    let mut command = Command::new(&contender.program);
    command
        .args(&contender.arguments)
        .env("PATH", packages::path())
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let output =
        namespace.run(|| command.output()).with_context(|| format!("cannot run {}", contender.label))?;
    let text: String = String::from_utf8_lossy(&output.stdout).split_ascii_whitespace().collect();
    Ok(if contender.label.starts_with("nmap") {
        text.matches("/open/tcp").count()
    } else if contender.label.starts_with("rustscan") {
        let lists = text.split("->[").skip(1).filter_map(|rest| rest.split(']').next());
        lists.map(|list| list.split(',').filter(|port| !port.is_empty()).count()).sum()
    } else {
        text.matches("\"state\":\"open\"").count()
    })
}

/// Builds RustScan, unless it stands there.
fn install_rustscan() -> anyhow::Result<String> {
    let root = target_folder().join("peers");
    let program = root.join("bin/rustscan");
    if !program.is_file() {
        println!("\nprobe: building RustScan from crates.io");
        let root = root.display().to_string();
        let status = cargo(&["install", "--quiet", "--locked", "rustscan", "--root", &root]).status()?;
        if !status.success() {
            bail!("cargo install rustscan: {status}");
        }
    }
    Ok(program.display().to_string())
}

fn typed(namespace: &Namespace, line: &str) -> anyhow::Result<()> {
    let mut words = line.split_ascii_whitespace();
    let program = words.next().context("a command")?;
    let mut command = Command::new(program);
    command.args(words).env("PATH", packages::path());
    let status = namespace.run(|| command.status())?;
    if !status.success() {
        bail!("{line}: {status}");
    }
    Ok(())
}

/// Loads a rule for what comes in.
fn load(namespace: &Namespace, rule: &str) -> anyhow::Result<()> {
    typed(namespace, "nft add table inet bench")?;
    typed(namespace, "nft add chain inet bench input { type filter hook input priority 0 ; }")?;
    typed(namespace, &format!("nft add rule inet bench input {rule}"))
}
