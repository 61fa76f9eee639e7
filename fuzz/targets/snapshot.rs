//! Snapshot files: what is read can be written and is read back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan_core::snapshot_file;

fuzz_target!(|data: &[u8]| {
    if let Ok(snapshot) = snapshot_file::read(data) {
        let mut file = Vec::new();
        snapshot_file::write(&snapshot, &mut file).unwrap();
        assert_eq!(snapshot_file::read(&file[..]).unwrap(), snapshot);
    }
});
