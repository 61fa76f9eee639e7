//! `portolan history`, end to end, on files that the recorder's own store wrote.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use portolan_core::diagnose::Severity;
use portolan_core::range::{EphemeralRange, Reservation, ReservationKind};
use portolan_core::record::{Amount, Entry, Found, What};
use portolan_core::socket::{Family, Transport};
use portolan_history::{Keep, Options, Recorder};
use serde_json::Value;

/// 2026-11-26 00:00 UTC.
const START: u64 = 1_795_651_200_000;
const EVERY: u64 = 300_000;
const HOUR: u64 = 3_600_000;

/// A folder for a test's files, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("portolan-history-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn history(file: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    command.args(["history", "--file"]).arg(file).args(arguments).env("LC_ALL", "C.UTF-8");
    command.output().unwrap()
}

/// What it writes, where it ends with that code and says nothing wrong.
#[track_caller]
fn told(file: &Path, arguments: &[&str], code: i32) -> String {
    let output = history(file, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(file: &Path, arguments: &[&str], part: &str) {
    let output = history(file, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        (output.status.code(), output.stdout.as_slice(), errors.lines().count()),
        (Some(2), &b""[..], 1),
        "{errors}"
    );
    assert!(errors.contains(part), "{errors}");
}

fn number(entry: &mut Entry, what: What, name: &str, value: f64) {
    entry.amounts.insert((what, name.to_owned()), Amount::exact(value.max(0.0) as u64));
}

fn range(low: u16) -> EphemeralRange {
    let range = format!("{low}-60999").parse().unwrap();
    EphemeralRange { transport: Transport::Tcp, family: Family::Ipv4, range }
}

/// Two days, a look every five minutes: `proxy` leaks since 36 hours after the beginning, and takes the room towards its
/// destination with it; another destination goes up and down. A pause of two hours on the first day, a start of the
/// machine with it; a range that changes later. `leaks` false leaves the leak out.
fn two_days(file: &Path, leaks: bool) {
    let options = Options { interval_ms: EVERY, pid: 4711, keep: Keep::default() };
    let mut recorder = Recorder::open(file, options).unwrap();
    for look in (0..576_u64).filter(|look| !(120..144).contains(look)) {
        let leak = if leaks { look.saturating_sub(432) as f64 } else { 0.0 };
        let wave = (look as f64 / 288.0 * std::f64::consts::TAU).sin();
        let noise = |seed: u64| ((look * 7919 + seed * 104_729) % 97) as f64 / 97.0 - 0.5;
        let mut entry = Entry {
            at_ms: START + look * EVERY,
            boot: if look < 120 { "first" } else { "second" }.to_owned(),
            seen: What::ALL.to_vec(),
            ranges: vec![range(if look < 300 { 32768 } else { 10240 })],
            reservations: vec![Reservation {
                range: "5432-5432".parse().unwrap(),
                transport: None,
                family: None,
                kind: ReservationKind::Administered,
                by: Some("portolan".to_owned()),
            }],
            ..Entry::default()
        };
        number(&mut entry, What::Total, "tcp", 3000.0 + 500.0 * wave + 50.0 * leak + 20.0 * noise(1));
        number(&mut entry, What::Total, "udp", 12.0);
        number(&mut entry, What::State, "CLOSE_WAIT", 50.0 * leak);
        number(&mut entry, What::State, "ESTABLISHED", 2000.0 + 500.0 * wave);
        number(&mut entry, What::Owner, "proxy (proxy.service)", 400.0 + 50.0 * leak + 20.0 * noise(2));
        number(&mut entry, What::Owner, "evil\u{1b}[2J<b>&", 700.0 + 300.0 * wave);
        number(
            &mut entry,
            What::Destination,
            "10.0.0.5 to 10.0.7.9:8443",
            28_000.0 - 150.0 * leak + 60.0 * noise(3),
        );
        number(&mut entry, What::Destination, "10.0.0.5 to 10.0.7.8:5432", 14_000.0 + 13_000.0 * wave);
        number(&mut entry, What::Room, "tcp connect ipv4", 28_232.0);
        if leaks && look > 500 {
            entry.findings.push(Found {
                rule: "close-wait-leak".to_owned(),
                severity: Severity::Warning,
                summary: format!("proxy (pid 812) leaks {} sockets.", 50 * (look - 432)),
            });
        }
        recorder.append(&entry).unwrap();
    }
}

#[test]
fn the_verdict_says_when_the_room_ends_and_who_grew_since_when() {
    let folder = Folder::new("verdict");
    let file = folder.file("h.db");
    two_days(&file, true);
    let text = told(&file, &[], 1);
    let room = text.lines().next().unwrap();
    assert!(room.contains("room left") && room.contains("10.0.0.5 to 10.0.7.9:8443 has 6,"), "{text}");
    // 144 looks of 150 ports each: 6,400 are left, for 43 looks of five minutes.
    assert!(text.contains("none in 3 h"), "{text}");
    assert!(text.contains("proxy (proxy.service) grew by") && text.contains("10 a minute"), "{text}");
    assert!(!text.contains("evil\u{1b}[2J"), "{text}");
    assert!(text.contains("close-wait-leak") && text.contains("lasts"), "{text}");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("the recorder does not run; start it with: portolan record"), "{text}");
    assert!(text.contains("█"), "{text}");
    let json: Value = serde_json::from_str(&told(&file, &["--json", "--by", "destination"], 1)).unwrap();
    let falling = &json["falling"][0];
    assert_eq!(falling["name"], "10.0.0.5 to 10.0.7.9:8443");
    let end = &falling["ending"]["end"];
    // A look stands for the stretch that it begins, and the line goes through the stretches' middles.
    let true_s = (28_000.0 / 150.0 - 144.0 + 0.5) * 300.0;
    assert!(
        end["earliest_s"].as_f64().unwrap() <= true_s && true_s <= end["latest_s"].as_f64().unwrap(),
        "{falling} {true_s}"
    );
    let since = falling["course"]["since_ms"].as_u64().unwrap();
    assert!(since.abs_diff(START + 432 * EVERY) < 3 * HOUR, "{falling}");
    assert_eq!(json["grew"][0]["name"], "proxy (proxy.service)");
    assert_eq!(json["series"].as_array().unwrap().len(), 2);
}

/// The row of the table with that name, cell by cell.
fn row(text: &str, name: &str) -> Vec<String> {
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    let line = line.unwrap_or_else(|| panic!("{name}: {text}"));
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}

#[test]
fn last_is_what_the_last_look_saw_however_wide_the_stretches_are() {
    let folder = Folder::new("last");
    let file = folder.file("h.db");
    let mut recorder =
        Recorder::open(&file, Options { interval_ms: 5000, pid: 1, keep: Keep::default() }).unwrap();
    for look in 0..300_u64 {
        let mut entry = Entry { at_ms: START + look * 5000, seen: What::ALL.to_vec(), ..Entry::default() };
        // It grows look by look, and its last look is another once more.
        let (owner, left) = if look == 299 { (9000, 77) } else { (look, 0) };
        number(&mut entry, What::Owner, "proxy", owner as f64);
        number(&mut entry, What::Total, "tcp", owner as f64);
        number(&mut entry, What::Room, "tcp connect ipv4", left as f64);
        if look < 225 {
            number(&mut entry, What::Owner, "gone", 40.0);
        }
        recorder.append(&entry).unwrap();
    }
    for since in ["24h", "30m", "10s"] {
        let text = told(&file, &["--by", "owner", "--since", since], 0);
        assert_eq!(row(&text, "proxy")[1], "9,000", "{since}: {text}");
        assert!(text.contains("  proxy  9,000 at last\n"), "{since}: {text}");
        let json: Value =
            serde_json::from_str(&told(&file, &["--by", "owner", "--since", since, "--json"], 0)).unwrap();
        assert_eq!(json["series"][0]["last"], serde_json::json!({ "min": 9000, "max": 9000 }));
    }
    let text = told(&file, &["--by", "owner", "--since", "24h"], 0);
    assert_eq!(row(&text, "gone")[1], "0", "{text}");
    // None was left until the last look, which found some: nothing has ended.
    let text = told(&file, &["--by", "room"], 0);
    assert_eq!(row(&text, "tcp connect ipv4")[1], "77", "{text}");
    let text = told(&file, &["--by", "room", "--until", "5s"], 1);
    assert_eq!(row(&text, "tcp connect ipv4")[1], "0", "{text}");
    assert!(text.contains("tcp connect ipv4 had no port left at the last look"), "{text}");
}

#[test]
fn without_a_leak_there_is_no_trend_and_waves_raise_no_alarm() {
    let folder = Folder::new("quiet");
    let file = folder.file("h.db");
    two_days(&file, false);
    for since in ["1h", "3h", "6h", "12h", "24h", "2d"] {
        for until in ["0s", "3h", "6h", "9h", "12h"] {
            // Less than what `--until` leaves is no window.
            let since = if since.ends_with('d') {
                since.to_owned()
            } else {
                format!(
                    "{}h",
                    since.trim_end_matches('h').parse::<u64>().unwrap()
                        + until.trim_end_matches(['h', 's']).parse::<u64>().unwrap()
                )
            };
            let text = told(&file, &["--since", &since, "--until", until], 0);
            assert!(
                text.contains("does not end: no trend") || text.contains("no end in sight"),
                "{since} {until}: {text}"
            );
        }
    }
    let text = told(&file, &["--since", "24h"], 0);
    assert!(text.contains("nobody: no trend in any owner's sockets"), "{text}");
}

#[test]
fn a_pause_is_a_gap_and_never_a_zero() {
    let folder = Folder::new("pause");
    let file = folder.file("h.db");
    two_days(&file, false);
    let text = told(&file, &["--since", "2d"], 0);
    let gap = "nothing was recorded from 2026-11-26 10:00:00 UTC to 2026-11-26 12:00:00 UTC (2 h 0 min): the recorder did not";
    assert!(text.split_whitespace().collect::<Vec<_>>().join(" ").contains(gap), "{text}");
    let json: Value = serde_json::from_str(&told(&file, &["--since", "2d", "--json"], 0)).unwrap();
    assert_eq!(
        json["pauses"],
        serde_json::json!([{ "from_ms": START + 10 * HOUR, "to_ms": START + 12 * HOUR }])
    );
    assert_eq!(json["series"][0]["runs"].as_array().unwrap().len(), 2);
    let csv = told(&file, &["--since", "2d", "--format", "csv"], 0);
    assert!(csv.starts_with("name,time,seconds,least,mean,most\ntcp,2026-11-26 00:00:00 UTC,600,"), "{csv}");
    assert!(!csv.contains("2026-11-26 10:") && !csv.contains("2026-11-26 11:"), "{csv}");
}

#[test]
fn series_are_chosen_by_kind_by_name_by_number_and_by_time() {
    let folder = Folder::new("chosen");
    let file = folder.file("h.db");
    two_days(&file, true);
    let names = |arguments: &[&str]| -> Vec<String> {
        let output = history(&file, &[arguments, &["--json"]].concat());
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        json["series"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&[]), ["tcp", "udp"]);
    assert_eq!(names(&["--by", "owner", "--top", "1"]), ["proxy (proxy.service)"]);
    assert_eq!(names(&["--by", "owner", "--name", "proxy"]), ["proxy (proxy.service)"]);
    assert_eq!(names(&["--by", "destination", "--name", "*:5432"]), ["10.0.0.5 to 10.0.7.8:5432"]);
    assert_eq!(names(&["--by", "state"]), ["ESTABLISHED", "CLOSE_WAIT"]);
    assert_eq!(names(&["--by", "room"]), ["tcp connect ipv4"]);
    assert_eq!(names(&["--by", "owner", "--name", "nobody"]), [""; 0]);
    let csv =
        told(&file, &["--since", "2026-11-26T01:00", "--until", "2026-11-26T01:20", "--format", "csv"], 0);
    assert_eq!(csv.lines().filter(|line| line.starts_with("tcp,")).count(), 2, "{csv}");
}

#[test]
fn the_diary_tells_ranges_and_reservations_whenever_they_changed() {
    let folder = Folder::new("diary");
    let file = folder.file("h.db");
    two_days(&file, false);
    let text = told(&file, &["--diary", "--since", "2d"], 0);
    for line in [
        "2026-11-26 00:00:00 UTC  ranges: +tcp ipv4 32768-60999",
        "2026-11-26 00:00:00 UTC  reservations: +5432 by portolan",
        "2026-11-26 12:00:00 UTC  the machine started; ranges: as before",
        "2026-11-27 01:00:00 UTC  ranges: +tcp ipv4 10240-60999, -tcp ipv4 32768-60999",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    let chart = told(&file, &["--since", "2d"], 0);
    assert!(chart.contains("▲ 2026-11-27 01:00:00 UTC  ranges: +tcp ipv4 10240-60999"), "{chart}");
    let json: Value =
        serde_json::from_str(&told(&file, &["--diary", "--json", "--since", "30h"], 0)).unwrap();
    let pages = json["pages"].as_array().unwrap();
    assert_eq!(pages.len(), 3, "what held at the beginning, and one change: {json}");
    assert_eq!(pages[2]["removed"], serde_json::json!(["tcp ipv4 32768-60999"]));
}

#[test]
fn pictures_are_drawn_and_never_over_a_file_that_is_there() {
    let folder = Folder::new("picture");
    let file = folder.file("h.db");
    two_days(&file, true);
    let (svg, png) = (folder.file("room.svg"), folder.file("owners.PNG"));
    let text = told(&file, &["--by", "destination", "--chart", svg.to_str().unwrap(), "--since", "2d"], 1);
    assert!(text.contains(&format!("drawn to {}", svg.display())), "{text}");
    told(&file, &["--by", "owner", "--chart", png.to_str().unwrap(), "--since", "2d"], 1);
    let drawn = fs::read_to_string(&svg).unwrap();
    let document = roxmltree::Document::parse(&drawn).unwrap();
    let lines = document.descendants().filter(|node| node.attribute("class") == Some("l0 line"));
    assert_eq!(lines.count(), 3, "two runs, and the legend's");
    let mut reader = png::Decoder::new(std::io::Cursor::new(fs::read(&png).unwrap())).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    assert!(pixels.chunks(3).any(|pixel| pixel == [0x00, 0x72, 0xb2]));
    let again = ["--chart", svg.to_str().unwrap()];
    refused(&file, &again, "is there already: name another file, or replace it with --force");
    assert_eq!(fs::read_to_string(&svg).unwrap(), drawn);
    told(&file, &["--chart", svg.to_str().unwrap(), "--force"], 1);
    assert_ne!(fs::read_to_string(&svg).unwrap(), drawn);
    refused(&file, &["--chart", "x.pdf"], "name a file that ends in .svg or .png");
    refused(&file, &["--chart", "/no/such/folder/x.svg"], "name another file with --chart");
}

#[test]
fn what_is_not_there_and_what_is_typed_wrong_is_one_line() {
    let folder = Folder::new("wrong");
    let file = folder.file("h.db");
    refused(&file, &[], "portolan record");
    two_days(&file, false);
    refused(&file, &["--since", "yesterday"], "type one as in 24h, 7d or 2026-11-28T10:00");
    refused(&file, &["--since", "2027-01-01"], "the record goes from 2026-11-26 00:00:00 UTC to");
    refused(&file, &["--by", "port"], "possible values");
    refused(&file, &["--force"], "--chart");
    refused(&file, &["--diary", "--top", "3"], "--top");
    refused(&file, &["--from", "x.json"], "leave --from out");
    let other = folder.file("other.db");
    fs::write(&other, "not a history at all, but a text that is long enough to be taken for one").unwrap();
    refused(&other, &[], "--file");
}
