//! The compiled program: its pieces of code by their sections, the maps that they name, and what it was built from.
//!
//! Source: ELF (System V ABI), BPF's relocations (Documentation/bpf/llvm_reloc.rst). The file is our own; a part that is
//! missing is an error all the same. Left out on purpose: every relocation but that of a map, and BTF of the object.

use std::io;

use object::read::elf::ElfFile64;
use object::{Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget};

use super::super::bpf::MapKind;

/// Where what it was built from is written.
#[cfg(test)]
const BUILT: &str = "built";
/// A map's definition: five numbers of 32 bits.
const DEFINITION: usize = 20;

/// The object.
pub(super) struct Object {
    pub(super) maps: Vec<Map>,
    pub(super) pieces: Vec<Piece>,
    /// The SHA-256 of its source and the compiler.
    #[cfg(test)]
    pub(super) built: String,
}

/// A map to be made.
pub(super) struct Map {
    pub(super) name: String,
    pub(super) kind: MapKind,
}

/// A program to be loaded.
pub(super) struct Piece {
    /// Where it is to run: `fentry/__sys_bind`, `tp/sys_exit_bind`, `raw_tp/inet_sock_set_state`.
    pub(super) section: String,
    pub(super) code: Vec<u8>,
    /// Which instruction names which map: the instruction's place in bytes, the map's index.
    pub(super) names: Vec<(usize, usize)>,
}

impl Object {
    /// Reads it.
    pub(super) fn parse(bytes: &[u8]) -> io::Result<Self> {
        let bad = |error: object::Error| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
        let file = ElfFile64::<Endianness>::parse(bytes).map_err(bad)?;
        let mut maps = Vec::new();
        let mut places = Vec::new();
        if let Some(section) = file.section_by_name("maps") {
            let data = section.data().map_err(bad)?;
            for symbol in file.symbols().filter(|symbol| symbol.section_index() == Some(section.index())) {
                let from = usize::try_from(symbol.address()).unwrap_or(usize::MAX);
                let Some(definition) = data.get(from..).and_then(|rest| rest.get(..DEFINITION)) else {
                    continue;
                };
                let (words, _) = definition.as_chunks::<4>();
                let [kind, key, value, entries, flags] =
                    std::array::from_fn(|at| u32::from_le_bytes(words[at]));
                places.push(symbol.index());
                maps.push(Map {
                    name: symbol.name().map_err(bad)?.to_owned(),
                    kind: MapKind { kind, key, value, entries, flags },
                });
            }
        }
        let mut pieces = Vec::new();
        for section in file.sections() {
            let name = section.name().map_err(bad)?;
            if !name.contains('/') || name.starts_with('.') {
                continue;
            }
            let mut piece = Piece {
                section: name.to_owned(),
                code: section.data().map_err(bad)?.to_vec(),
                names: Vec::new(),
            };
            for (at, relocation) in section.relocations() {
                let RelocationTarget::Symbol(symbol) = relocation.target() else { return Err(strange(name)) };
                let map = places.iter().position(|place| *place == symbol).ok_or_else(|| strange(name))?;
                piece.names.push((usize::try_from(at).unwrap_or(usize::MAX), map));
            }
            pieces.push(piece);
        }
        Ok(Self {
            maps,
            pieces,
            #[cfg(test)]
            built: file
                .section_by_name(BUILT)
                .and_then(|section| Some(String::from_utf8_lossy(section.data().ok()?).into_owned()))
                .unwrap_or_default(),
        })
    }
}

fn strange(section: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{section} refers to something that is no map"))
}
