//! A stand-in for MongoDB on TCP 27017, since Debian has no server: it answers with documents that python3-bson, MongoDB's
//! own encoder, makes. PyMongo, MongoDB's own client, understands it.
//!
//! Source: MongoDB's wire protocol (OP_MSG; OP_QUERY with isMaster, which PyMongo 3 begins with), its commands hello and
//! buildInfo as MongoDB 7 documents them.

use super::{Ready, Server, Site, installed};
use crate::Namespace;

const PROGRAM: &str = r#"
import socketserver, struct, bson

ROLE = {"helloOk": True, "isWritablePrimary": True, "ismaster": True, "maxBsonObjectSize": 16777216,
        "maxMessageSizeBytes": 48000000, "maxWriteBatchSize": 100000, "connectionId": 7,
        "minWireVersion": 0, "maxWireVersion": 21, "readOnly": False, "ok": 1.0}
BUILD = {"version": "7.0.14", "gitVersion": "ce59cfc6", "versionArray": [7, 0, 14, 0], "bits": 64,
         "maxBsonObjectSize": 16777216, "storageEngines": ["wiredTiger"], "ok": 1.0}

def answer(command):
    name = next(iter(command)).lower()
    told = {"hello": ROLE, "ismaster": ROLE, "buildinfo": BUILD, "ping": {"ok": 1.0}, "endsessions": {"ok": 1.0}}
    return told.get(name, {"ok": 0.0, "errmsg": "no such command", "code": 59})

class Client(socketserver.StreamRequestHandler):
    def handle(self):
        while head := self.rfile.read(16):
            length, request, _, code = struct.unpack("<iiii", head)
            if not 16 < length < 1 << 20:
                return
            body = self.rfile.read(length - 16)
            if code == 2013:
                document = bson.encode(answer(bson.decode(body[5:])))
                reply, kind = struct.pack("<ib", 0, 0) + document, 2013
            elif code == 2004:
                query = body[body.index(b"\0", 4) + 9:]
                reply, kind = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(answer(bson.decode(query))), 1
            else:
                return
            self.wfile.write(struct.pack("<iiii", 16 + len(reply), 1, request, kind) + reply)

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True

Server(("127.0.0.1", 27017), Client).serve_forever()
"#;

/// Starts it on 127.0.0.1.
///
/// # Panics
/// Where Python or its module bson is not installed.
#[track_caller]
pub fn mongodb(namespace: &Namespace) -> Server {
    let site = Site::new("mongodb");
    let program = site.path("server.py");
    std::fs::write(&program, PROGRAM).expect("the temporary folder can be written");
    // Debian's own Python has Debian's modules; another one may stand before it.
    let mut command = site.command(namespace, &installed("/usr/bin/python3", "python3 python3-bson"));
    command.arg(program);
    site.start(namespace, command, &Ready::Listens(27017))
}
