//! /etc/passwd and /etc/group: users by number and by name.
//!
//! Source: passwd(5), group(5). Lines that do not follow the format are passed over, as the C library does; names
//! come from these files alone, so users of a directory service (LDAP, sssd) stay numbers.

/// One user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group's id.
    pub gid: u32,
}

/// Every user of /etc/passwd, in the order of the file; the first of an id or name counts.
pub fn users(text: &str) -> impl Iterator<Item = User> + '_ {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        named(name).then(|| User { name: name.to_owned(), uid, gid })
    })
}

/// A name, not a comment nor a line of the old NIS syntax.
fn named(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(['#', '+', '-'])
}

/// Ids of the groups of /etc/group that list `user` as a member, in the order of the file.
pub fn groups_of<'a>(text: &'a str, user: &'a str) -> impl Iterator<Item = u32> + 'a {
    text.lines().filter_map(move |line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (gid, members) = (fields.next()?.parse().ok()?, fields.next()?);
        (named(name) && members.split(',').any(|member| member.trim() == user)).then_some(gid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n#old:x:7:7::/:\n+::::::\nbad:x:one:2::/:\n\
        cut:x:5\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\ntoor:x:0:0::/:/bin/sh\n";

    #[test]
    fn users_come_in_order_and_odd_lines_are_passed_over() {
        let seen: Vec<_> = users(PASSWD).map(|user| (user.name, user.uid, user.gid)).collect();
        assert_eq!(seen, [("root".into(), 0, 0), ("www-data".into(), 33, 33), ("toor".into(), 0, 0)]);
    }

    #[test]
    fn groups_are_those_that_list_the_user() {
        let text = "root:x:0:\nadm:x:4:syslog,ann\nssl-cert:x:110:ann\nstaff:x:50:anna\ncut:x\n";
        assert_eq!(groups_of(text, "ann").collect::<Vec<_>>(), [4, 110]);
    }
}
