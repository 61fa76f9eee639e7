//! What nobody should send: cut, broken and hostile texts. Each gives a snapshot that can be kept, or an error.

use std::path::Path;

use portolan_core::import::{File, ImportError, import};
use portolan_core::snapshot::Snapshot;
use portolan_core::snapshot_file;

use super::{gap, has_gap, text};

fn every_recording() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let files = ["windows", "linux"].map(|name| std::fs::read_dir(folder.join(name)).unwrap());
    let paths = files.into_iter().flatten().map(|entry| entry.unwrap().path());
    let found: Vec<_> = paths
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .collect();
    assert!(found.len() > 40, "{}", found.len());
    found
}

/// Whether it is written and read back as it is.
#[track_caller]
fn can_be_kept(snapshot: &Snapshot) {
    let mut file = Vec::new();
    snapshot_file::write(snapshot, &mut file).unwrap();
    assert_eq!(&snapshot_file::read(&file[..]).unwrap(), snapshot);
}

#[test]
fn every_truncation_of_every_recording_is_read_or_refused() {
    for (name, bytes) in every_recording() {
        for end in 0..bytes.len() {
            if let Ok(imported) = import(&[File { name: &name, bytes: &bytes[..end] }], 0)
                && end % 97 == 0
            {
                can_be_kept(&imported.snapshot);
            }
        }
    }
}

#[test]
fn every_recording_with_a_broken_byte_is_read_or_refused() {
    for (name, bytes) in every_recording() {
        for at in (0..bytes.len()).step_by(7) {
            for broken in [0, b'\n', b'"', b'[', b':', 0xff] {
                let mut copy = bytes.clone();
                copy[at] = broken;
                let _ = import(&[File { name: &name, bytes: &copy }], 0);
            }
        }
    }
}

#[test]
fn a_file_in_which_nothing_is_recognised_is_an_error_that_shows_its_beginning() {
    let error = text("\nDear support,\nit does not work. 8080.\n").unwrap_err();
    assert_eq!(
        error,
        ImportError::NothingRecognised { file: "pasted.txt".into(), line: "Dear support,".into() }
    );
    assert_eq!(text("").unwrap_err().to_string(), "pasted.txt is empty");
}

#[test]
fn lines_that_are_of_no_listing_are_told() {
    let letter = "  TCP  0.0.0.0:1  0.0.0.0:0  LISTENING  7\n\n\n8080 does not work either\nyours\n";
    let snapshot = text(letter).unwrap().snapshot;
    let told = gap(&snapshot, "text");
    assert!(told.detail.contains("listing: 1, the first is line 4"), "{told:?}");
}

#[test]
fn a_row_that_is_broken_at_its_beginning_is_told_too() {
    let rows = "  T P  0.0.0.0:1  0.0.0.0:0  LISTENING  7\n  TCP  0.0.0.0:2  0.0.0.0:0  LISTENING  7\n";
    let snapshot = text(rows).unwrap().snapshot;
    assert_eq!(snapshot.sockets.len(), 1);
    assert!(gap(&snapshot, "text").detail.contains("line 1"));
}

#[test]
fn odd_rows_are_told_a_few_at_a_time_and_then_counted() {
    let rows: String = (0..10).map(|_| "  TCP  nowhere:http  0.0.0.0:0  LISTENING  7\n").collect();
    let snapshot = text(&format!("  TCP  0.0.0.0:1  0.0.0.0:0  LISTENING  7\n{rows}")).unwrap().snapshot;
    let told: Vec<&str> =
        snapshot.gaps.iter().filter(|gap| gap.what == "rows").map(|gap| gap.detail.as_str()).collect();
    assert_eq!(told.len(), 4);
    assert!(told[0].contains("line 2") && told[3].contains("7 more rows"), "{told:?}");
}

#[test]
fn hostile_names_stay_what_they_are_and_can_be_kept() {
    let name = "x\u{1b}[2J\u{202e}\",pid=1,fd=2";
    let long = "n".repeat(5000);
    let listing = format!(
        "tcp LISTEN 0 1 0.0.0.0:1 0.0.0.0:* users:((\"{name}\",pid=7,fd=3))\n\
         tcp LISTEN 0 1 0.0.0.0:2 0.0.0.0:* users:((\"{long}\",pid=8,fd=3))\n"
    );
    let snapshot = text(&listing).unwrap().snapshot;
    assert!(snapshot.owners.iter().all(|owner| owner.name.len() <= 256));
    can_be_kept(&snapshot);
}

#[test]
fn endless_lines_and_rows_without_end_are_bounded() {
    let endless = format!("  TCP  0.0.0.0:1  0.0.0.0:0  LISTENING  7\n  TCP  {}\n", "9".repeat(1 << 20));
    let snapshot = text(&endless).unwrap().snapshot;
    assert!(has_gap(&snapshot, "text"));
    // All of one pair of endpoints, twice: matching must not compare each with each.
    let alike: String = (0..50_000).map(|pid| format!("  UDP  0.0.0.0:5353  *:*  {pid}\n")).collect();
    let files = [File { name: "a", bytes: alike.as_bytes() }, File { name: "b", bytes: alike.as_bytes() }];
    assert!(import(&files, 0).unwrap().snapshot.sockets.len() >= 50_000);
    let holders: String = (0..10_000).map(|fd| format!("(\"x\",pid=7,fd={fd}),")).collect();
    let row = format!("tcp LISTEN 0 1 0.0.0.0:1 0.0.0.0:* users:({holders})\n");
    can_be_kept(&text(&row.chars().take(60_000).collect::<String>()).unwrap().snapshot);
}
