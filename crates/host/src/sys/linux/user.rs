//! Users by name or number, of /etc/passwd and /etc/group.
//!
//! Source: passwd(5), group(5). Left out on purpose: users of a directory service (LDAP, sssd), for whom the C
//! library would load plug-ins; their numbers work.

use std::io;

use portolan_core::kernel::passwd;

use super::file;
use crate::Error;
use crate::sys::Identity;

/// The user of a name or number. A number without a name gets the group of the same number and no others.
pub(crate) fn user(name_or_uid: &str) -> Result<Identity, Error> {
    let doing = |file: &str| format!("find the user '{}' in {file}", name_or_uid.escape_debug());
    let read = |path: &str| file::text(path, file::LONG).map_err(|error| Error::new(doing(path), error));
    let number = name_or_uid.parse::<u32>().ok().filter(|uid| *uid != u32::MAX);
    let users = read("/etc/passwd")?;
    let mut users = passwd::users(&users);
    let known = users.find(|user| user.name == name_or_uid || Some(user.uid) == number);
    match (known, number) {
        (Some(user), _) => {
            let groups = passwd::groups_of(&read("/etc/group")?, &user.name).collect();
            Ok(Identity { name: Some(user.name), uid: user.uid, gid: user.gid, groups })
        }
        (None, Some(uid)) => Ok(Identity { name: None, uid, gid: uid, groups: Vec::new() }),
        (None, None) => {
            let none = io::Error::new(
                io::ErrorKind::NotFound,
                "no such user; type a name or a number (see: getent passwd)",
            );
            Err(Error::new(doing("/etc/passwd"), none))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        let root = user("root").unwrap();
        assert_eq!((root.uid, root.gid, root.name.as_deref()), (0, 0, Some("root")));
        assert_eq!(user("0").unwrap(), root);
        assert_eq!(user("4000000000").unwrap().gid, 4_000_000_000);
    }

    #[test]
    fn an_unknown_user_is_one_clear_line() {
        let message = user("no-such-user").unwrap_err().to_string();
        assert!(message.contains("no such user; type a name or a number"), "{message}");
    }
}
