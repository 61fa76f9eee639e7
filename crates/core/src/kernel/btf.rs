//! BTF, the kernel's description of its own types: where a function stands in it, and where members of structures lie.
//!
//! Source: `linux/btf.h`, Documentation/bpf/btf.rst; `/sys/kernel/btf/vmlinux` is in this host's byte order.
//! Leaves out on purpose: members inside unnamed structures, bit fields, and everything else about types.

use crate::wire::{DecodeError, Problem, Reader};

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_FUNC: u32 = 12;

/// A description: the types, and the names that they refer to.
#[derive(Clone, Copy, Debug)]
pub struct Btf<'a> {
    types: Reader<'a>,
    names: &'a [u8],
}

/// One type of the list: its number, its name's place, its kind and its members (structures only).
struct Type<'a> {
    id: u32,
    name: u32,
    kind: u32,
    members: Reader<'a>,
}

impl<'a> Btf<'a> {
    /// Reads the header.
    pub fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut header = Reader::new(bytes);
        let magic = header.u16_host("magic")?;
        if magic != MAGIC {
            return Err(Reader::error_at(0, "magic", Problem::Value(magic.into())));
        }
        header.take(2, "version, flags")?;
        let length = header.u32_host("hdr_len")? as usize;
        let section = |offset: u32, length_of: u32, field| {
            let mut rest = Reader::new(bytes);
            rest.take(length, "hdr_len")?;
            rest.take(offset as usize, field)?;
            rest.part(length_of as usize, field)
        };
        let types = section(header.u32_host("type_off")?, header.u32_host("type_len")?, "type_off")?;
        let mut names = section(header.u32_host("str_off")?, header.u32_host("str_len")?, "str_off")?;
        let names = names.take(names.remaining(), "str_len")?;
        Ok(Self { types, names })
    }

    /// The number of a function; nothing where there is none of that name.
    pub fn function(&self, name: &str) -> Result<Option<u32>, DecodeError> {
        let Some(name) = self.place_of(name) else { return Ok(None) };
        Ok(self.find(|found| found.kind == KIND_FUNC && found.name == name)?.map(|found| found.id))
    }

    /// Offset in bytes of a member of a structure; nothing where there is none of these names.
    pub fn member(&self, structure: &str, member: &str) -> Result<Option<u16>, DecodeError> {
        let (Some(structure), Some(member)) = (self.place_of(structure), self.place_of(member)) else {
            return Ok(None);
        };
        let found = self.find(|found| found.kind == KIND_STRUCT && found.name == structure)?;
        let Some(Type { mut members, .. }) = found else { return Ok(None) };
        while !members.is_empty() {
            let name = members.u32_host("btf_member.name_off")?;
            members.u32_host("btf_member.type")?;
            let bits = members.u32_host("btf_member.offset")? & 0x00ff_ffff;
            if name == member {
                return Ok(u16::try_from(bits / 8).ok().filter(|_| bits % 8 == 0));
            }
        }
        Ok(None)
    }

    /// Where a name stands among the names. Each stands there once: types are told apart by this number.
    fn place_of(&self, name: &str) -> Option<u32> {
        let mut start = 0;
        for candidate in self.names.split(|byte| *byte == 0) {
            if candidate == name.as_bytes() {
                return u32::try_from(start).ok();
            }
            start += candidate.len() + 1;
        }
        None
    }

    /// The first type that is wanted. Types are numbered from 1 in the order of the list.
    fn find(&self, wanted: impl Fn(&Type<'a>) -> bool) -> Result<Option<Type<'a>>, DecodeError> {
        let mut list = self.types;
        for id in 1.. {
            if list.is_empty() {
                break;
            }
            let found = next(&mut list, id)?;
            if wanted(&found) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

fn next<'a>(list: &mut Reader<'a>, id: u32) -> Result<Type<'a>, DecodeError> {
    let start = list.offset();
    let name = list.u32_host("btf_type.name_off")?;
    let info = list.u32_host("btf_type.info")?;
    list.u32_host("btf_type.size")?;
    let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
    let length = match kind {
        // Pointers, forward declarations, typedefs, qualifiers, functions, floats, type tags.
        2 | 7..=12 | 16 | 18 => 0,
        // Integers, variables, declaration tags.
        1 | 14 | 17 => 4,
        // An array.
        3 => 12,
        // Enumerations, prototypes: entries of 8 bytes.
        6 | 13 => count * 8,
        // Structures, unions, sections, enumerations of 64 bits: entries of 12 bytes.
        4 | 5 | 15 | 19 => count * 12,
        other => return Err(Reader::error_at(start + 4, "btf_type.info", Problem::Value(other.into()))),
    };
    Ok(Type { id, name, kind, members: list.part(length, "btf_type's entries")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A description of `int`, `struct file { int a; int f_inode; }` and the function `bpf_iter_task_file`.
    fn described() -> Vec<u8> {
        let names = b"\0int\0file\0f_inode\0bpf_iter_task_file\0a\0";
        let int = [1, 1 << 24, 4, 32];
        let file = [5, KIND_STRUCT << 24 | 2, 8, /* a */ 37, 1, 0, /* f_inode */ 10, 1, 32];
        let function = [18, KIND_FUNC << 24, 0];
        let types: Vec<u8> =
            int.iter().chain(&file).chain(&function).flat_map(|word| u32::to_ne_bytes(*word)).collect();
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for word in [24, 0, types.len(), types.len(), names.len()] {
            bytes.extend(u32::try_from(word).unwrap().to_ne_bytes());
        }
        bytes.extend(types);
        bytes.extend(names);
        bytes
    }

    #[test]
    fn functions_and_members_are_found_by_name() {
        let bytes = described();
        let btf = Btf::new(&bytes).unwrap();
        assert_eq!(btf.function("bpf_iter_task_file"), Ok(Some(3)));
        assert_eq!(btf.member("file", "f_inode"), Ok(Some(4)));
        assert_eq!(btf.member("file", "a"), Ok(Some(0)));
        for (structure, member) in [("file", "int"), ("int", "a"), ("file", "b"), ("", "a")] {
            assert_eq!(btf.member(structure, member), Ok(None), "{structure}.{member}");
        }
        assert_eq!(btf.function("file"), Ok(None), "a structure is no function");
        assert_eq!(btf.function("bpf_iter"), Ok(None));
    }

    #[test]
    fn a_truncated_or_changed_description_never_panics() {
        let bytes = described();
        let ask = |bytes: &[u8]| Btf::new(bytes).and_then(|btf| btf.member("file", "nothing"));
        for length in 0..bytes.len() {
            assert!(ask(&bytes[..length]).is_err(), "{length}");
        }
        for index in 0..bytes.len() {
            for value in 0..=u8::MAX {
                let mut changed = bytes.clone();
                changed[index] = value;
                let _any = ask(&changed);
            }
        }
    }
}
