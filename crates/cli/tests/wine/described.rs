//! Whether JSON is what the program's own schema, which is one for every system, describes.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Fails where the text is not JSON as `portolan schema NAME` has it.
#[track_caller]
pub(crate) fn assert_described(program: &Path, name: &str, text: &str) {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"));
    let output = Command::new(program).args(["schema", name]).stdin(Stdio::null()).output().unwrap();
    let schema = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("schema.json", schema).unwrap();
    let index = compiler.compile("schema.json", &mut schemas).unwrap();
    schemas.validate(&value, index).unwrap_or_else(|error| panic!("{name}: {error}"));
}
