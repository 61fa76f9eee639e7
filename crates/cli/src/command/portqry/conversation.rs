//! PortQry's formatted queries: which service has one, what is said before it is sent, and how an answer is printed.
//!
//! Source: Microsoft's article "Using the PortQry command-line tool" and captures of versions 1 and 2, for the lines; the
//! conversations themselves are `portolan_core::probe`'s. Left out on purpose: what follows the plain question
//! of services that PortQry does not know; `portolan probe` speaks with those.

use portolan_core::answer::{Answer, Fields, Value};
use portolan_core::probe::{Protocol, Via, protocol};
use portolan_core::socket::Transport;

use super::wording::shouted;

/// A formatted query.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Conversation {
    /// The names that services files give the port.
    services: &'static [&'static str],
    transport: Transport,
    /// The ports that are asked so where the services file names none of them.
    ports: &'static [u16],
    /// What is spoken, by its id.
    protocol: &'static str,
    pub(super) shape: Shape,
}

/// How its answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Ldap,
    Endpoints,
    NetBios,
    Snmp,
    Sql,
    /// ISA Server's answer to its clients.
    Proxy,
    /// What the server says first.
    Data,
    /// Nothing but the verdict; what the query is called.
    Verdict(&'static str),
}

const fn conversation(
    services: &'static [&'static str],
    transport: Transport,
    ports: &'static [u16],
    protocol: &'static str,
    shape: Shape,
) -> Conversation {
    Conversation { services, transport, ports, protocol, shape }
}

/// Every formatted query.
static CONVERSATIONS: [Conversation; 19] = {
    use Transport::{Tcp, Udp};
    [
        conversation(&["ldap"], Tcp, &[389], "ldap", Shape::Ldap),
        conversation(&["msft-gc"], Tcp, &[3268], "ldap", Shape::Ldap),
        conversation(&["ldap"], Udp, &[389], "cldap", Shape::Ldap),
        conversation(&["epmap", "loc-srv"], Tcp, &[135], "epmap", Shape::Endpoints),
        conversation(&["epmap", "loc-srv"], Udp, &[135], "epmap", Shape::Endpoints),
        conversation(&["domain"], Tcp, &[53], "dns", Shape::Verdict("DNS")),
        conversation(&["domain"], Udp, &[53], "dns", Shape::Verdict("DNS")),
        conversation(&["netbios-ns"], Udp, &[137], "netbios", Shape::NetBios),
        conversation(&["snmp"], Udp, &[161], "snmp", Shape::Snmp),
        conversation(&["ms-sql-m"], Udp, &[1434], "sql-browser", Shape::Sql),
        conversation(&["tftp"], Udp, &[69], "tftp", Shape::Verdict("TFTP")),
        conversation(&["l2tp", "l2f"], Udp, &[1701], "l2tp", Shape::Verdict("L2TP")),
        conversation(&["isakmp"], Udp, &[500], "ike", Shape::Verdict("IPSec")),
        conversation(&["remote-winsock", "isa"], Tcp, &[1745], "winsock-proxy", Shape::Proxy),
        conversation(&["remote-winsock", "isa"], Udp, &[1745], "winsock-proxy", Shape::Proxy),
        conversation(&["ftp"], Tcp, &[21], "ftp", Shape::Data),
        conversation(&["smtp"], Tcp, &[25], "banner", Shape::Data),
        conversation(&["pop3"], Tcp, &[110], "banner", Shape::Data),
        conversation(&["imap", "imap2", "imap4"], Tcp, &[143], "banner", Shape::Data),
    ]
};

/// The formatted query for a port: by the name that the services file gives it; by its number where that gives none.
pub(super) fn of(transport: Transport, port: u16, service: Option<&str>) -> Option<&'static Conversation> {
    let mut all = CONVERSATIONS.iter().filter(|conversation| conversation.transport == transport);
    all.find(|conversation| match service {
        Some(service) => conversation.services.iter().any(|name| name.eq_ignore_ascii_case(service)),
        None => conversation.ports.contains(&port),
    })
}

impl Conversation {
    /// What is spoken, and what carries it; none where this version does not speak it.
    pub(super) fn protocol(&self) -> Option<(&'static Protocol, Via)> {
        let found = protocol(self.protocol)?;
        let via = found.via.iter().find(|via| via.transport() == self.transport)?;
        Some((found, *via))
    }

    /// Whether it leaves from a port of its own even where `-sp` names one.
    pub(super) fn has_own_port(&self) -> bool {
        self.transport == Transport::Tcp
            || matches!(self.shape, Shape::Ldap | Shape::Endpoints | Shape::NetBios)
            || self.protocol == "ike"
    }

    /// What is said before it.
    pub(super) fn before(&self, port: u16, community: &str, source_port: Option<u16>) -> String {
        let transport = shouted(self.transport);
        let own_port = match source_port {
            Some(_) if self.has_own_port() && self.shape != Shape::Data => "Using ephemeral source port\n",
            _ => "",
        };
        let query = match self.shape {
            Shape::Ldap => format!("\nSending LDAP query to {transport} port {port}...\n"),
            Shape::Endpoints => "Querying Endpoint Mapper Database...\n".to_owned(),
            Shape::NetBios => {
                format!("\nAttempting NETBIOS adapter status query to {transport} port {port}...\n")
            }
            Shape::Snmp => format!(
                "\ncommunity name for query:\n\n{community}\n\nSending SNMP query to {transport} port {port}...\n"
            ),
            Shape::Sql => format!("\nSending SQL Server query to {transport} port {port}...\n"),
            Shape::Proxy => format!("\nSending ISA query to {transport} port {port}...\n"),
            Shape::Verdict(name) => format!("\nSending {name} query to {transport} port {port}...\n"),
            Shape::Data => String::new(),
        };
        own_port.to_owned() + &query
    }

    /// What the answer says.
    pub(super) fn answer(&self, answer: &Answer) -> String {
        let fields = &answer.fields;
        match self.shape {
            Shape::Ldap => ldap(fields),
            Shape::Endpoints => endpoints(fields),
            Shape::NetBios => names(fields),
            Shape::Sql => instances(fields),
            Shape::Proxy => proxy(fields),
            Shape::Data => data(fields),
            Shape::Snmp | Shape::Verdict(_) => String::new(),
        }
    }

    /// What is said where none came.
    pub(super) fn no_answer(&self, port: u16, why: &str) -> String {
        let transport = shouted(self.transport);
        match self.shape {
            Shape::Data => String::new(),
            Shape::Ldap => format!("\nLDAP query to {transport} port {port} failed: {why}\n"),
            Shape::Endpoints => format!("Server did not answer the RPC Endpoint Mapper query: {why}\n"),
            Shape::NetBios => format!("\nNETBIOS adapter status query failed: {why}\n"),
            Shape::Snmp => format!("\nSNMP query failed: {why}\n"),
            Shape::Sql => format!("\nSQL Server query failed: {why}\n"),
            Shape::Proxy => format!("\nISA query failed: {why}\n"),
            Shape::Verdict(name) => format!("\n{name} query failed: {why}\n"),
        }
    }
}

/// Every value of a field, one by one.
fn values(value: &Value) -> &[Value] {
    match value {
        Value::List(values) => values,
        value => std::slice::from_ref(value),
    }
}

fn ldap(fields: &Fields) -> String {
    let mut text = "\nLDAP query response:\n\n\n".to_owned();
    if let Some(Value::Fields(attributes)) = fields.value("attributes") {
        for (name, value) in attributes.iter() {
            for value in values(value) {
                let value = value.to_string();
                let date = (name == "currentTime").then(|| date(&value)).flatten();
                match date {
                    Some(date) => text.push_str(&format!("currentdate: {date} (unadjusted GMT)\n")),
                    None => text.push_str(&format!("{name}: {}\n", value.replace('\n', " "))),
                }
            }
        }
    }
    text + "\n======== End of LDAP query response ========\n"
}

/// `07/10/2003 04:14:31` of `20030710041431.0Z` (RFC 4517 section 3.3.13).
fn date(time: &str) -> Option<String> {
    let digits = time.get(..14).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    let (year, month, day) = (part(0, 4), part(4, 6), part(6, 8));
    Some(format!("{month}/{day}/{year} {}:{}:{}", part(8, 10), part(10, 12), part(12, 14)))
}

fn endpoints(fields: &Fields) -> String {
    let mut text = "Server's response:\n\n".to_owned();
    let mut count = 0_usize;
    for endpoint in fields.value("endpoints").map_or(&[][..], values) {
        if let Value::Fields(endpoint) = endpoint {
            count += 1;
            let part = |name| endpoint.text(name).unwrap_or_default();
            let uuid = format!("UUID: {} {}", part("uuid"), part("annotation"));
            text.push_str(&format!("{}\n{}\n\n", uuid.trim_end(), part("binding")));
        }
    }
    if fields.value("complete") == Some(&Value::Flag(false)) {
        text.push_str("The list broke off here.\n\n");
    }
    text + &format!("Total endpoints found: {count}\n\n==== End of RPC Endpoint Mapper query response ====\n")
}

fn names(fields: &Fields) -> String {
    let card = fields.text("unit_id").unwrap_or_default().replace(':', "");
    let mut text = format!("\nServer's response: MAC address {card}\n");
    for name in fields.value("names").map_or(&[][..], values) {
        if let Value::Fields(name) = name {
            let kind = if name.value("group") == Some(&Value::Flag(true)) { "GROUP" } else { "UNIQUE" };
            let part = |field| name.text(field).unwrap_or_default();
            text.push_str(&format!("{:<15} <{}> {kind}\n", part("name"), part("suffix")));
        }
    }
    text
}

fn instances(fields: &Fields) -> String {
    let mut text = "\nServer's response:\n\n".to_owned();
    for instance in fields.value("instances").map_or(&[][..], values) {
        if let Value::Fields(instance) = instance {
            instance.iter().for_each(|(name, value)| text.push_str(&format!("{name} {value}\n")));
            text.push('\n');
        }
    }
    text + "==== End of SQL Server query response ====\n"
}

/// The client configuration as it came, or what else the server tells.
fn proxy(fields: &Fields) -> String {
    let mut text = "\nServer's response:\n\n".to_owned();
    match fields.text("configuration") {
        Some(configuration) => text.push_str(&format!("{}\n", configuration.trim_end())),
        None => fields.iter().for_each(|(name, value)| text.push_str(&format!("{name} {value}\n"))),
    }
    text + "\n==== End of ISA query response ====\n"
}

fn data(fields: &Fields) -> String {
    let mut lines = Vec::new();
    let code = fields.value("code").map_or_else(String::new, |code| format!("{code} "));
    for name in ["banner", "greeting", "login_reply"] {
        if let Some(text) = fields.text(name) {
            let code = if name == "greeting" { code.as_str() } else { "" };
            lines.push(format!("{code}{}\n", text.trim_end()));
        }
    }
    if lines.is_empty() {
        return String::new();
    }
    format!("\nData returned from port:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(transport: Transport, port: u16, fields: Fields) -> String {
        let conversation = of(transport, port, None).unwrap();
        conversation.before(port, "public", None)
            + &conversation.answer(&Answer::new(conversation.protocol, "", fields))
    }

    #[test]
    fn the_services_file_chooses_the_query_and_a_number_only_where_it_is_silent() {
        let of = |port, service| of(Transport::Tcp, port, service).map(|found| found.protocol);
        assert_eq!(of(1025, Some("ldap")), Some("ldap"));
        assert_eq!(of(389, Some("other")), None);
        assert_eq!(of(389, None), Some("ldap"));
        assert_eq!(of(80, Some("http")), None);
    }

    /// The transcript of PortQry 2's help page: ../shared/reference/portqry.md.
    #[test]
    fn sql_servers_instances_are_printed_as_portqry_does() {
        let instance = Fields::new()
            .with("ServerName", "SQL-Server1")
            .with("InstanceName", "MSSQLSERVER")
            .with("IsClustered", "No")
            .with("Version", "8.00.194")
            .with("tcp", "1433")
            .with("np", r"\\SQL-Server1\pipe\sql\query");
        let text = told(Transport::Udp, 1434, Fields::new().with("instances", Value::list([instance])));
        let expected = r"
Sending SQL Server query to UDP port 1434...

Server's response:

ServerName SQL-Server1
InstanceName MSSQLSERVER
IsClustered No
Version 8.00.194
tcp 1433
np \\SQL-Server1\pipe\sql\query

==== End of SQL Server query response ====
";
        assert_eq!(text, expected);
    }

    /// The transcripts of version 1: ../shared/reference/captures/portqry-v1.txt.
    #[test]
    fn a_directory_and_an_endpoint_mapper_are_printed_as_portqry_does() {
        let attributes = Fields::new()
            .with("currentTime", Value::list(["20030710041431.0Z"]))
            .with("subschemaSubentry", "CN=Aggregate,CN=Schema,CN=Configuration,DC=d-advantage,DC=com")
            .with("namingContexts", Value::list(["DC=d-advantage,DC=com", "CN=Configuration"]));
        let text = told(Transport::Tcp, 389, Fields::new().with("attributes", attributes));
        let expected = "
Sending LDAP query to TCP port 389...

LDAP query response:


currentdate: 07/10/2003 04:14:31 (unadjusted GMT)
subschemaSubentry: CN=Aggregate,CN=Schema,CN=Configuration,DC=d-advantage,DC=com
namingContexts: DC=d-advantage,DC=com
namingContexts: CN=Configuration

======== End of LDAP query response ========
";
        assert_eq!(text, expected);
        let endpoint = |annotation: &str, binding: &str| {
            let uuid = "ecec0e70-a603-11d0-96b1-00a0c92ece31";
            Fields::new().with("uuid", uuid).with("annotation", annotation).with("binding", binding)
        };
        let endpoints = [
            endpoint("NTDS Backup Interface", r"ncacn_np:\\SERVER[\PIPE\lsass]"),
            endpoint("", "ncalrpc:[LRPC00000118.00000001]"),
        ];
        let text = told(Transport::Tcp, 135, Fields::new().with("endpoints", Value::list(endpoints)));
        let expected = r"Querying Endpoint Mapper Database...
Server's response:

UUID: ecec0e70-a603-11d0-96b1-00a0c92ece31 NTDS Backup Interface
ncacn_np:\\SERVER[\PIPE\lsass]

UUID: ecec0e70-a603-11d0-96b1-00a0c92ece31
ncalrpc:[LRPC00000118.00000001]

Total endpoints found: 2

==== End of RPC Endpoint Mapper query response ====
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_source_port_is_said_to_be_left_where_the_second_query_leaves_it() {
        let before = |transport, port| of(transport, port, None).unwrap().before(port, "secret", Some(3000));
        assert!(before(Transport::Udp, 389).starts_with("Using ephemeral source port\n\nSending LDAP"));
        assert!(before(Transport::Tcp, 135).starts_with("Using ephemeral source port\nQuerying"));
        assert!(!before(Transport::Udp, 161).contains("ephemeral"));
        assert!(before(Transport::Udp, 161).contains("community name for query:\n\nsecret\n"));
    }

    #[test]
    fn a_date_that_is_none_stays_as_it_came() {
        assert_eq!(date("20030710041431.0Z").as_deref(), Some("07/10/2003 04:14:31"));
        assert_eq!(date("2003071004143"), None);
        assert_eq!(date("2003071004143é"), None);
    }
}
