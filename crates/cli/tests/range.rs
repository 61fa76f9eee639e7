//! `portolan range`, end to end: bounds refused before anything is touched, the file and the kernel's value changed
//! and read back, what others wrote kept.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};

use portolan_testbed::{Answer, Held, Machine};

const OWN: &str = "sysctl.d/60-portolan.conf";

/// The answer of a command that is refused, or typed wrong, and changes nothing; its one line says why.
#[track_caller]
fn refused(machine: &Machine, words: &str, code: i32, why: &[&str]) {
    let before = machine.seen();
    let answer = machine.portolan(words).with_code(code);
    for part in why {
        assert!(answer.errors.contains(part), "'{part}' is not in: {answer}");
    }
    assert_eq!(answer.errors.lines().count(), 1, "{answer}");
    assert_eq!(machine.seen(), before, "{words}");
    assert_eq!(fs::read_dir(machine.state()).unwrap().count(), 0, "{words}: the journal was written");
}

/// The warnings of a plan.
#[track_caller]
fn warnings(answer: &Answer) -> String {
    answer.json()["warnings"].to_string()
}

#[test]
fn bounds_are_refused_with_their_reason_before_anything_is_touched() {
    let machine = Machine::new();
    machine.namespace.sysctl("net.ipv4.ip_unprivileged_port_start", "2000");
    for (words, code, why) in [
        ("range set 50000-40000 --yes", 2, &["runs backwards", "40000-50000"][..]),
        ("range set 60000-70000 --yes", 2, &["70000", "65535"]),
        ("range set 0-70 --yes", 2, &["1 to 65535"]),
        ("range set --start 60000 --count 10000 --yes", 2, &["60000", "65535"]),
        ("range set --start 60000 --count 0 --yes", 2, &["0 ports"]),
        ("range set --start 60000 --yes", 2, &["--count"]),
        ("range set 1-2 --start 60000 --count 5 --yes", 2, &["--start"]),
        ("range set --yes", 2, &[]),
        ("range set 1999-60000 --yes", 1, &["begins below 2000", "ip_unprivileged_port_start"]),
        ("range set 40000-50000 --transport tcp --yes", 1, &["one ephemeral range", "--transport"]),
        ("range set 40000-50000 --family ipv6 --yes", 1, &["one ephemeral range", "--family"]),
        ("range set 40000-50000 --runtime --persist --yes", 2, &["--persist"]),
        ("range show --from FILE", 2, &["leave --from out"]),
    ] {
        refused(&machine, words, code, why);
    }
}

#[test]
fn a_set_range_is_in_the_kernel_and_in_the_file_and_reset_takes_both_away() {
    let machine = Machine::new();
    let before = machine.seen();
    let answer = machine.portolan("range set 49152-65535 --yes").with_code(0);
    assert!(answer.output.contains("kernel: ephemeral range 32768-60999 → 49152-65535"), "{answer}");
    assert!(answer.output.contains("portolan undo 1"), "{answer}");
    assert_eq!(machine.seen().range, "49152\t65535");
    assert!(machine.read(OWN).unwrap().ends_with("\nnet.ipv4.ip_local_port_range = 49152 65535\n"));
    assert_eq!(fs::metadata(machine.etc(OWN)).unwrap().mode() & 0o7777, 0o644);
    let shown = machine.portolan("range show --json").with_code(0).json();
    assert_eq!(shown["ranges"].as_array().unwrap().len(), 4, "{shown:#}");
    for range in shown["ranges"].as_array().unwrap() {
        assert_eq!(range["runtime"], serde_json::json!([49152, 65535]), "{range}");
        assert_eq!((&range["persistent"], range["count"].as_u64()), (&"49152 65535".into(), Some(16384)));
        assert_eq!(range["file"], "/etc/sysctl.d/60-portolan.conf");
    }
    let again = machine.portolan("range set 49152-65535 --yes").with_code(0);
    assert!(again.output.contains("nothing to do"), "{again}");
    machine.portolan("range reset --yes").with_code(0);
    assert_eq!(machine.seen(), before);
    let shown = machine.portolan("range").with_code(0).output;
    assert!(shown.contains("32768-60999") && shown.contains("no file sets it"), "{shown}");
}

#[test]
fn one_of_the_two_values_is_changed_alone_where_that_is_asked() {
    let machine = Machine::new();
    machine.portolan("range set --start 40000 --count 1000 --runtime --yes").with_code(0);
    assert_eq!((machine.seen().range.as_str(), machine.read(OWN)), ("40000\t40999", None));
    let answer = machine.portolan("range set 41000-42000 --persist --yes").with_code(0);
    assert!(answer.output.contains("next restart"), "{answer}");
    assert_eq!(machine.seen().range, "40000\t40999");
    assert!(machine.read(OWN).unwrap().contains("= 41000 42000"));
    machine.portolan("range reset --persist --yes").with_code(0);
    assert_eq!((machine.seen().range.as_str(), machine.read(OWN)), ("40000\t40999", None));
    machine.portolan("range reset --runtime --yes").with_code(0);
    assert_eq!(machine.seen().range, "32768\t60999");
}

#[test]
fn a_later_file_that_wins_after_a_restart_is_told() {
    for later in ["sysctl.d/99-x.conf", "sysctl.conf"] {
        let machine = Machine::new();
        machine.write(later, "net/ipv4/ip_local_port_range = 1024 65000\n", 0o644);
        let plan = machine.portolan("range set 40000-50000 --dry-run --json").with_code(0);
        let told = warnings(&plan);
        assert!(told.contains(&format!("/etc/{later} says 1024 65000")), "{told}");
        assert!(told.contains("wins after a restart"), "{told}");
        let shown = machine.portolan("range show --json").json();
        assert_eq!(shown["ranges"][0]["persistent"], "1024 65000");
        assert_eq!(shown["ranges"][0]["file"], format!("/etc/{later}"));
    }
    let machine = Machine::new();
    machine.write("sysctl.d/10-x.conf", "net.ipv4.ip_local_port_range = 1024 65000\n", 0o644);
    let told = warnings(&machine.portolan("range set 40000-50000 --dry-run --json").with_code(0));
    assert!(!told.contains("10-x.conf"), "an earlier file does not win: {told}");
    machine.portolan("range set 40000-50000 --persist --yes").with_code(0);
    let told = warnings(&machine.portolan("range reset --dry-run --json").with_code(0));
    assert!(told.contains("10-x.conf says 1024 65000"), "it speaks again: {told}");
}

#[test]
fn few_ports_and_listeners_inside_are_warned_of_and_reserved_ones_are_not() {
    let machine = Machine::new();
    let _held = Held::new(
        &machine.namespace,
        "tcp-listen 0.0.0.0:50051 tcp-listen [::1]:56379 tcp-listen 0.0.0.0:80",
    );
    machine.reserve(&["56379".into()]);
    let told = warnings(&machine.portolan("range set 50000-60000 --dry-run --json").with_code(0));
    assert!(told.contains("50051 (testbed)") && told.contains("portolan reserve add 50051"), "{told}");
    assert!(!told.contains("56379") && !told.contains("80 (") && !told.contains("few"), "{told}");
    let told = warnings(&machine.portolan("range set 61000-61253 --dry-run --json").with_code(0));
    assert!(told.contains("254 ports are few") && !told.contains("listen"), "{told}");
    let told = warnings(&machine.portolan("range set 61000-61254 --dry-run --json").with_code(0));
    assert!(!told.contains("few"), "{told}");
}

#[test]
fn what_others_wrote_into_our_file_stays_with_its_mode_and_owner() {
    let machine = Machine::new();
    let text = "# by hand\nvm.swappiness = 10\nnet.ipv4.ip_local_port_range=1024 2024\nkernel.pid_max = 9";
    machine.write(OWN, text, 0o600);
    chown(machine.etc(OWN), Some(64_001), Some(64_002)).unwrap();
    let before = machine.seen();
    machine.portolan("range set 40000-50000 --yes").with_code(0);
    assert_eq!(
        machine.read(OWN).unwrap(),
        "# by hand\nvm.swappiness = 10\nnet.ipv4.ip_local_port_range = 40000 50000\nkernel.pid_max = 9\n"
    );
    let about = fs::metadata(machine.etc(OWN)).unwrap();
    assert_eq!((about.mode() & 0o7777, about.uid(), about.gid()), (0o600, 64_001, 64_002));
    machine.portolan("range reset --yes").with_code(0);
    assert_eq!(machine.read(OWN).unwrap(), "# by hand\nvm.swappiness = 10\nkernel.pid_max = 9\n");
    machine.portolan("undo --yes").with_code(0);
    machine.portolan("undo --yes").with_code(0);
    assert_eq!(machine.seen(), before, "to the byte, without its last end of line");
}

#[test]
fn a_symbolic_link_or_a_folder_in_the_place_of_our_file_is_refused_and_not_followed() {
    let machine = Machine::new();
    machine.write("innocent", "precious\n", 0o644);
    symlink("/etc/innocent", machine.etc(OWN)).unwrap();
    refused(&machine, "range set 40000-50000 --yes", 1, &["60-portolan.conf", "plain file", "remove it"]);
    refused(&machine, "reserve add 5432 --yes", 1, &["60-portolan.conf", "plain file", "--runtime"]);
    let shown = machine.portolan("range show").with_code(0);
    assert!(shown.output.contains("not seen") && shown.output.contains("60-portolan.conf"), "{shown}");
    machine.portolan("range set 40000-50000 --runtime --yes").with_code(0);
    fs::remove_file(machine.etc(OWN)).unwrap();
    fs::create_dir(machine.etc(OWN)).unwrap();
    let answer = machine.portolan("range set 40000-50001 --persist --yes").with_code(1);
    assert!(answer.errors.contains("60-portolan.conf"), "{answer}");
}

#[test]
fn a_file_that_is_not_understood_is_not_written_over() {
    let machine = Machine::new();
    machine.write(OWN, "net.ipv4.ip_local_port_range = from here to there\n", 0o644);
    refused(&machine, "range set 40000-50000 --yes", 1, &["60-portolan.conf", "from here to there"]);
    machine.write(OWN, "net.ipv4.ip_local_reserved_ports = 9-1\n", 0o644);
    refused(&machine, "reserve add 5432 --yes", 1, &["60-portolan.conf", "9-1"]);
    fs::write(machine.etc(OWN), b"# \xff\xfe\n").unwrap();
    refused(&machine, "range set 40000-50000 --yes", 1, &["60-portolan.conf", "UTF-8"]);
}

#[test]
fn without_a_folder_for_the_file_it_says_what_to_make() {
    let machine = Machine::new();
    fs::remove_dir(machine.etc("sysctl.d")).unwrap();
    refused(&machine, "range set 40000-50000 --yes", 1, &["mkdir /etc/sysctl.d", "--runtime"]);
    machine.portolan("range set 40000-50000 --runtime --yes").with_code(0);
    machine.portolan("undo --yes").with_code(0);
    assert_eq!(machine.seen().range, "32768\t60999");
}

#[test]
fn outside_the_first_namespace_the_plan_says_whom_the_file_speaks_for() {
    let machine = Machine::new();
    let told = warnings(&machine.portolan("range set 40000-50000 --dry-run --json").with_code(0));
    assert!(told.contains("speaks for the whole machine"), "{told}");
    let told = warnings(&machine.portolan("range set 40000-50000 --runtime --dry-run --json").with_code(0));
    assert!(!told.contains("whole machine"), "{told}");
}
