//! Trace files of Windows, written by `writer.rs` after the documented layout: no recording of a Windows was to be had
//! whose licence allows it to stand here.

mod story;
mod writer;

use std::path::Path;

use portolan_core::kernel::etl::{self, Record, Unreadable};
use portolan_core::kernel::windows_process;
use portolan_core::kernel::winsock_afd;
use portolan_core::snapshot::{GapReason, System};
use portolan_core::trace::{Call, Outcome};
use story::{Program, Teller, at};
use writer::{Buffer, Bytes, Event, Header, STARTED, file};

const TOO_MANY_ADDRESSES: u32 = 0xC000_0209;
const LEAKER: Program = Program { object: 0xffff_a50c_1000_0080, pid: 4321 };
const SERVER: Program = Program { object: 0xffff_a50c_2000_0080, pid: 880 };

/// A process as Microsoft-Windows-Kernel-Process tells of those that run already.
fn rundown(buffer: Buffer, program: Program, image: &str) -> Buffer {
    let data = Bytes::default().u32(program.pid).u64(STARTED).u32(1).u32(0).u32(0).wide(image).u32(0).u32(0);
    let event = Event {
        time: at(0),
        thread: 1,
        process: 4,
        provider: windows_process::PROVIDER,
        id: 15,
        version: 0,
        pointer_size: 8,
        items: Vec::new(),
    };
    buffer.event(&event, &data.0)
}

/// A program that leaks its sockets until nothing is left, and one that is refused for other reasons: on two processors,
/// whose buffers do not stand in the order of time.
fn ports_run_out() -> Vec<u8> {
    let later = Teller::new(1, LEAKER)
        .create(3000, 0x9003, 6)
        .bind(3001, 0x9003, "0.0.0.0:0", TOO_MANY_ADDRESSES, "")
        .create(3100, 0x9004, 6)
        .bind(3101, 0x9004, "[::]:0", TOO_MANY_ADDRESSES, "[::]:0")
        .close(3200, 0x9004)
        .create(3300, 0x9005, 17)
        .bind(3301, 0x9005, "0.0.0.0:0", TOO_MANY_ADDRESSES, "");
    let early = Teller::new(0, LEAKER)
        .create(100, 0x9001, 6)
        .bind(101, 0x9001, "0.0.0.0:0", 0, "10.1.2.3:49152")
        .connect_begins(103, 0x9001, "10.0.0.9:5432")
        .connect_ends(120, 0x9001, 0)
        .create(200, 0x9002, 6)
        .bind(201, 0x9002, "0.0.0.0:0", 0, "0.0.0.0:49153")
        .connect_begins(203, 0x9002, "10.0.0.9:5433")
        .connect_ends(204, 0x9002, 0x103)
        .connect_ends(1204, 0x9002, 0xC000_0236);
    let others = Teller::new(1, SERVER)
        .create(300, 0x8001, 6)
        .bind(301, 0x8001, "0.0.0.0:80", 0xC000_020A, "")
        .create(400, 0x8002, 6)
        .bind(401, 0x8002, "0.0.0.0:50010", 0xC000_0022, "")
        .connect_begins(500, 0x8003, "[fe80::1]:443")
        .close(900, 0x8003)
        .create(1000, 0x8004, 6)
        .bind(1001, 0x8004, "127.0.0.1:8080", 0, "127.0.0.1:8080")
        .event(1037, 1002, true, 0x8004, &Bytes::default().u32(128).u32(0).0);
    let names = rundown(Buffer::new(0), LEAKER, r"\Device\HarddiskVolume3\app\leaker.exe");
    let names = rundown(names, SERVER, r"\Device\HarddiskVolume3\Windows\System32\svchost.exe");
    let written = Header { buffers_written: 5, ..Header::default() };
    file(&written, &[later.buffer, others.buffer, early.buffer, names])
}

fn read(bytes: &[u8]) -> winsock_afd::Recorded {
    winsock_afd::read(bytes).unwrap()
}

fn lines(recorded: &winsock_afd::Recorded) -> String {
    recorded.calls.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn line(call: &Call) -> String {
    let ms = (call.at_ns / 1_000_000) % 60_000;
    let end = |end: Option<std::net::SocketAddr>| end.map_or_else(|| "-".to_owned(), |end| end.to_string());
    let outcome = match call.outcome {
        Outcome::Failed(_) => call.error(System::Windows).unwrap(),
        other => other.name().to_owned(),
    };
    let transport = call.transport.map_or_else(|| "?".to_owned(), |transport| transport.to_string());
    let (local, remote) = (end(call.local), end(call.remote));
    format!("{ms} {} {} {} {transport} {local} {remote} {outcome}", call.program, call.pid, call.kind.name())
}

#[test]
fn calls_are_told_in_the_order_of_time_with_who_made_them_and_what_came_of_them() {
    let recorded = read(&ports_run_out());
    insta::assert_snapshot!(lines(&recorded), @"
    102 leaker.exe 4321 bind tcp 10.1.2.3:49152 - done
    120 leaker.exe 4321 connect tcp 10.1.2.3:49152 10.0.0.9:5432 done
    202 leaker.exe 4321 bind tcp 0.0.0.0:49153 - done
    302 svchost.exe 880 bind tcp 0.0.0.0:80 - WSAEADDRINUSE
    402 svchost.exe 880 bind tcp 0.0.0.0:50010 - WSAEACCES
    900 svchost.exe 880 connect ? - [fe80::1]:443 given-up
    1002 svchost.exe 880 bind tcp 127.0.0.1:8080 - done
    1002 svchost.exe 880 listen tcp 127.0.0.1:8080 - done
    1204 leaker.exe 4321 connect tcp 0.0.0.0:49153 10.0.0.9:5433 WSAECONNREFUSED
    3002 leaker.exe 4321 bind tcp 0.0.0.0:0 - WSAENOBUFS
    3102 leaker.exe 4321 bind tcp [::]:0 - WSAENOBUFS
    3302 leaker.exe 4321 bind udp 0.0.0.0:0 - WSAENOBUFS
    ");
    assert_eq!(recorded.gaps, []);
    assert_eq!(recorded.release, "10.0.19045");
    assert_eq!(recorded.calls[0].took_ns, Some(1_000_000));
    assert_eq!(recorded.calls[0].at_ns, 1_764_331_200_102_000_000);
}

#[test]
fn every_kind_of_record_is_passed_over_at_its_length_and_the_ones_behind_it_are_read() {
    let sized = |kind: u8, flags: u8, length: usize| {
        Bytes::default().u16(0).u8(kind).u8(flags).bytes(&vec![0; length - 4])
    };
    let mut buffer = Buffer::new(0);
    for (kind, flags, length) in [
        (0x0a, 0xc0, 48), // EVENT_TRACE_HEADER
        (0x14, 0xc0, 51),
        (0x0b, 0xc0, 56), // EVENT_INSTANCE_HEADER
        (0x15, 0xc0, 72),
        (0x0d, 0xc0, 9),
        (0x00, 0x90, 8), // WPP
        (0x05, 0x90, 33),
    ] {
        buffer = buffer.raw(sized(kind, flags, length), 0);
    }
    for (header, long) in [(1, false), (2, true), (3, false), (4, true), (0x10, false), (0x11, true)] {
        buffer = buffer.system(header, (3, 1, 4), at(1), &process(4, 0xabcd, "a.exe", long));
        // An item and two counters of extended data stand before what the kernel wrote.
        let data = [vec![0xee; 24], process(3, 0xabcd, "b.exe", long)].concat();
        buffer = buffer.system(header, (3, 3, 0x8203), at(2), &data);
    }
    let mut programs = Vec::new();
    let mut others = 0;
    let told = etl::read(&*file(&Header::default(), &[buffer]), |_, record| match record {
        Record::System(event) => programs.extend(windows_process::of_kernel(&event).unwrap()),
        Record::Other => others += 1,
        Record::Event(event) => panic!("{event:?}"),
    });
    let told = told.unwrap();
    assert_eq!((told.gaps, told.buffers, told.records, others), (vec![], 2, 20, 7));
    let named: Vec<&str> = programs.iter().map(|process| process.program.as_str()).collect();
    assert_eq!(named, ["a.exe", "b.exe"].repeat(6));
    assert!(programs.iter().all(|process| process.pid == 4321 && process.object == Some(0xabcd)));
}

/// What the kernel's own logger says of a process that starts, with pointers of eight or four bytes.
fn process(version: u16, object: u64, image: &str, long: bool) -> Vec<u8> {
    let size = if long { 8 } else { 4 };
    let data = Bytes::default().pointer(size, object).u32(4321).u32(1).u32(0).u32(259);
    let data = data.pointer(size, 0x1000);
    let data = if version >= 4 { data.u32(0) } else { data };
    let data = data.pointer(size, 7).pointer(size, 0).bytes(&[1, 2, 0, 0, 0, 0, 0, 5]).u32(32).u32(544);
    data.bytes(image.as_bytes()).u8(0).wide("").0
}

#[test]
fn a_trace_of_a_system_of_32_bits_reads_the_same() {
    let program = Program { object: 0x8123_4560, pid: 17 };
    let story = Teller::new(0, program).with_pointers_of_32_bits();
    let story = story.create(1, 5, 6).bind(2, 5, "0.0.0.0:0", TOO_MANY_ADDRESSES, "0.0.0.0:0");
    let recorded = read(&file(&Header { pointer_size: 4, ..Header::default() }, &[story.buffer]));
    assert_eq!(lines(&recorded), "3  17 bind tcp 0.0.0.0:0 - WSAENOBUFS");
}

#[test]
fn the_clock_of_the_file_counts() {
    let of = |clock| {
        let story = Teller::new(0, LEAKER).create(1, 5, 6).bind(2, 5, "0.0.0.0:0", 0, "0.0.0.0:7");
        let header = Header { clock, ..Header::default() };
        winsock_afd::read(&*file(&header, &[story.buffer])).map(|recorded| recorded.calls[0].at_ns)
    };
    assert_eq!(of(1).unwrap(), 1_764_331_200_003_000_000);
    // 30,000 steps of a processor of 2,400 MHz.
    assert_eq!(of(3).unwrap(), 1_764_331_200_000_012_500);
    // The system's time itself, which is 1601 in this file.
    assert_eq!(of(2).unwrap(), 0);
    let error = of(9).unwrap_err().to_string();
    assert_eq!(
        error,
        "this is no trace of Windows (.etl): ReservedFlags (offset 272) is 9, which means nothing"
    );
}

#[test]
fn what_windows_lost_is_a_gap() {
    let story = || Teller::new(0, LEAKER).create(1, 5, 6).bind(2, 5, "0.0.0.0:0", 0, "0.0.0.0:7").buffer;
    let gaps = |header, buffers: &[Buffer]| {
        let recorded = read(&file(&header, buffers));
        recorded.gaps.iter().map(|gap| gap.detail.clone()).collect::<Vec<_>>().join("; ")
    };
    let lost = Header { events_lost: 12, buffers_lost: 3, ..Header::default() };
    assert_eq!(gaps(lost, &[story()]), "Windows lost 12 events and 3 buffers while it recorded");
    let flagged = [story(), story().flagged(2), story().flagged(4)];
    assert_eq!(gaps(Header::default(), &flagged), "2 buffers say that events before them were lost");
    let missing = Header { buffers_written: 9, ..Header::default() };
    assert_eq!(gaps(missing, &[story()]), "2 of 9 buffers are in the file");
}

#[test]
fn a_trace_without_calls_says_so_and_how_to_record_one() {
    let recorded = read(&file(&Header::default(), &[Buffer::new(0)]));
    let [gap] = &recorded.gaps[..] else { panic!("{:?}", recorded.gaps) };
    assert_eq!((gap.reason, recorded.calls.len()), (GapReason::Absent, 0));
    assert!(gap.remedy.as_ref().is_some_and(|remedy| remedy.starts_with("netsh trace start")));
    // Windows 7 wrote other events.
    let old = Teller::new(0, LEAKER).event(40, 1, true, 5, &[0; 4]);
    let recorded = read(&file(&Header::default(), &[old.buffer]));
    assert!(recorded.gaps[0].detail.contains("Windows 7"), "{:?}", recorded.gaps);
}

#[test]
fn compressed_buffers_are_refused_with_what_to_do() {
    let story = Teller::new(0, LEAKER).create(1, 5, 6).buffer.flagged(0x40);
    let error = winsock_afd::read(&*file(&Header::default(), &[story])).unwrap_err();
    assert!(matches!(error, Unreadable::Compressed));
    assert!(error.to_string().contains("netsh trace start"), "{error}");
}

#[test]
fn what_is_no_trace_is_refused() {
    for (bytes, expected) in [
        (&b""[..], "the message ends before EventTraceHeader (offset 72) does"),
        (b"Windows Events 1.0", "BufferSize (offset 0) is 1684957527, which means nothing"),
        (&[0; 200], "the message ends before EventTraceHeader (offset 72) does"),
        (&[72, 0, 0, 0], "the message ends before EventTraceHeader (offset 72) does"),
    ] {
        let error = winsock_afd::read(bytes).unwrap_err().to_string();
        assert_eq!(error, format!("this is no trace of Windows (.etl): {expected}"));
    }
}

#[test]
fn a_file_cut_anywhere_gives_what_stands_before_the_cut_and_says_so() {
    let whole = ports_run_out();
    let expected = read(&whole).calls.len();
    for length in (0..whole.len()).step_by(197) {
        let Ok(recorded) = winsock_afd::read(&whole[..length]) else {
            assert!(length < 4096, "refused at {length}");
            continue;
        };
        assert!(!recorded.gaps.is_empty() && recorded.calls.len() <= expected, "{length}");
    }
}

#[test]
fn no_changed_byte_makes_it_fall_over() {
    let whole = ports_run_out();
    let used = whole.iter().enumerate().filter(|(_, byte)| **byte != 0xff).map(|(place, _)| place);
    for place in used.step_by(7) {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = whole.clone();
            changed[place] = value;
            let _ = winsock_afd::read(&*changed);
        }
    }
}

#[test]
fn the_recording_that_the_programs_tests_read_is_what_the_writer_writes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/windows/winsock-afd-written.etl");
    let written = ports_run_out();
    if std::env::var_os("PORTOLAN_WRITE_RECORDING").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    assert!(
        std::fs::read(&path).unwrap() == written,
        "{}: run with PORTOLAN_WRITE_RECORDING=1",
        path.display()
    );
}
