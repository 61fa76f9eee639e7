// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What `portolan trace` runs in the kernel: it notes bind(), connect() and listen() as they begin, and tells of them
// when they are over, or when the connection that connect() began is.
//
// Sources: linux/bpf.h (helpers), net/socket.c, net/ipv4/tcp_ipv4.c, net/ipv4/af_inet.c, include/net/sock.h; the
// tracepoints syscalls:sys_enter_*, sys_exit_* and sock:inet_sock_set_state. Built by `cargo xtask bpf` with Debian's
// clang into trace.bpf.o; loaded by object.rs and program.rs, which knows the layout of `settings` and `event`. Where
// members of the kernel's structures lie comes from the kernel's BTF, as numbers in `settings`.
//
// Calls are seen by the tracepoints of their system calls. States of TCP sockets come by the raw tracepoint, in
// whatever context the kernel is then; only the step into SYN_SENT and LISTEN is certain to be the caller's own.
//
// Left out on purpose: calls of 32-bit programs on a 64-bit kernel, which pass no such tracepoint, until they come to
// SYN_SENT; bind() by io_uring, likewise; sendto() and sendmsg(), which are too frequent to look at; AF_UNSPEC and
// AF_UNIX addresses; connect() to the end that a socket is connected to already (EISCONN). fentry would see more, but
// a compiler may have put the function into its callers, and then it is silently never called.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef int s32;
typedef unsigned long long u64;
typedef long long s64;

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

// Helpers, by their numbers in linux/bpf.h.
static void *(*const map_lookup)(const void *map, const void *key) = (void *)1;
static s64 (*const map_update)(const void *map, const void *key, const void *value, u64 flags) = (void *)2;
static s64 (*const map_delete)(const void *map, const void *key) = (void *)3;
static u64 (*const monotonic_ns)(void) = (void *)5;
static u64 (*const pid_and_thread)(void) = (void *)14;
static u64 (*const user_and_group)(void) = (void *)15;
static u64 (*const own_task)(void) = (void *)35;
static s64 (*const read_user)(void *to, u32 size, u64 from) = (void *)112;
static s64 (*const read_kernel)(void *to, u32 size, u64 from) = (void *)113;
static void *(*const ring_reserve)(const void *ring, u64 size, u64 flags) = (void *)131;
static void (*const ring_submit)(void *data, u64 flags) = (void *)132;

// The loader makes a map of each of these, and puts its descriptor where the program names it.
struct map {
	u32 type, key_size, value_size, max_entries, flags;
};

enum { HASH = 1, ARRAY = 2, RING = 27, NO_PREALLOC = 1 };
enum { INET = 2, INET6 = 10, TCP = 6, UDP = 17 };
enum { BIND = 0, CONNECT = 1, LISTEN = 2 };
enum { DONE = 0, FAILED = 1, FAILED_LATER = 2, GIVEN_UP = 3 };
enum { ST_ESTABLISHED = 1, ST_SYN_SENT = 2, ST_CLOSE = 7, ST_LISTEN = 10 };
enum { E_INTR = 4, E_BADF = 9, E_NOTSOCK = 88, E_ADDRNOTAVAIL = 99, E_ISCONN = 106, E_ALREADY = 114, E_INPROGRESS = 115 };
// A call that a signal cut short, and that is begun anew or ends with EINTR.
enum { FIRST_RESTART = 512, LAST_RESTART = 516 };

// What the loader tells.
struct settings {
	u32 all; // calls that come about too
	u32 task_files, files_table, table_size, table_files, file_private, socket_sock;
	u32 sock_protocol, sock_error, sock_net, net_number, local_v6, remote_v6;
	u32 task_leader, task_name, sock_port;
	u32 own_range; // 0 where the kernel has none
	u32 task_namespaces, namespaces_net;
};

// Addresses as the network has them, none where the family is 0; ports in host order.
struct ends {
	u16 family, local_port, remote_port, protocol;
	u8 local[16], remote[16];
	u32 range; // the socket's own (IP_LOCAL_PORT_RANGE): the last port above the first; 0 for none
	u32 unused;
} __attribute__((aligned(8)));

// A call that has begun, of a thread.
struct call {
	u64 began;
	u64 sock; // that it works on, once that is known
	u32 kind, descriptor;
	struct ends ends;
};

// A connection under way, of a socket.
struct connection {
	u64 began;
	u64 process; // and its thread
	u32 user;
	u32 returned; // the call that began it is over, or was none of ours
	s32 error;    // that ended it
	u32 ended;    // the state it came to
	u32 network, unused;
	u8 name[16];
	struct ends ends;
};

// What is told of a call.
struct event {
	u64 at, took;
	u32 pid, user;
	s32 error;
	u32 network;
	u8 kind, outcome;
	u16 unused;
	u32 unused2;
	u8 name[16];
	struct ends ends;
};

struct map SECTION("maps") settings_map = { ARRAY, 4, sizeof(struct settings), 1, 0 };
struct map SECTION("maps") lost_map = { ARRAY, 4, 8, 1, 0 };
struct map SECTION("maps") calls_map = { HASH, 8, sizeof(struct call), 32768, NO_PREALLOC };
struct map SECTION("maps") connections_map = { HASH, 8, sizeof(struct connection), 65536, NO_PREALLOC };
struct map SECTION("maps") events_map = { RING, 0, 0, 1 << 22, 0 };

INLINE const struct settings *settings(void)
{
	u32 first = 0;
	return map_lookup(&settings_map, &first);
}

INLINE void lost(void)
{
	u32 first = 0;
	u64 *count = map_lookup(&lost_map, &first);
	if (count)
		__sync_fetch_and_add(count, 1);
}

INLINE u64 pointer_at(u64 address)
{
	u64 value = 0;
	read_kernel(&value, sizeof value, address);
	return value;
}

// The socket behind a descriptor of the running task; 0 where there is none.
INLINE u64 sock_of(const struct settings *at, u32 descriptor)
{
	u64 files = pointer_at(own_task() + at->task_files);
	u64 table = pointer_at(files + at->files_table);
	u32 size = 0;
	read_kernel(&size, sizeof size, table + at->table_size);
	if (!table || descriptor >= size)
		return 0;
	u64 file = pointer_at(pointer_at(table + at->table_files) + 8ull * descriptor);
	u64 socket = file ? pointer_at(file + at->file_private) : 0;
	return socket ? pointer_at(socket + at->socket_sock) : 0;
}

INLINE u32 network_of(const struct settings *at, u64 sock)
{
	u32 number = 0;
	// Without a socket it is the caller's.
	u64 net = sock ? pointer_at(sock + at->sock_net)
		       : pointer_at(pointer_at(own_task() + at->task_namespaces) + at->namespaces_net);
	if (net)
		read_kernel(&number, sizeof number, net + at->net_number);
	return number;
}

INLINE u16 protocol_of(const struct settings *at, u64 sock)
{
	u16 protocol = 0;
	read_kernel(&protocol, sizeof protocol, sock + at->sock_protocol);
	return protocol;
}

INLINE u32 range_of(const struct settings *at, u64 sock)
{
	u32 range = 0;
	if (at->own_range)
		read_kernel(&range, sizeof range, sock + at->own_range);
	return range;
}

// The process' name; a thread may have one of its own.
INLINE void read_name(const struct settings *at, u8 *name)
{
	read_kernel(name, 16, pointer_at(own_task() + at->task_leader) + at->task_name);
}

// The ends as they stand in a socket. The head of sock_common has lain so since Linux 3.9: destination, source, its
// port in network order, the local one in host order, family.
INLINE void read_ends(const struct settings *at, u64 sock, struct ends *ends)
{
	u16 port = 0;
	read_kernel(&ends->family, 2, sock + 16);
	read_kernel(&ends->local_port, 2, sock + 14);
	read_kernel(&port, 2, sock + 12);
	ends->remote_port = __builtin_bswap16(port);
	if (ends->family == INET) {
		read_kernel(ends->remote, 4, sock);
		read_kernel(ends->local, 4, sock + 4);
	} else if (ends->family == INET6) {
		read_kernel(ends->remote, 16, sock + at->remote_v6);
		read_kernel(ends->local, 16, sock + at->local_v6);
	}
}

// Whether a connected socket's other end is the one that was asked for again, as programs do to hear whether it came
// about. The unspecified address is this machine's.
INLINE int is_peer(const struct ends *is, const struct ends *asked)
{
	const u64 *one = (const u64 *)asked->remote, *other = (const u64 *)is->remote;
	return (!(one[0] | one[1]) || (one[0] == other[0] && one[1] == other[1])) &&
	       (asked->remote_port == is->remote_port || !asked->family);
}

INLINE void begin(u32 kind, u32 descriptor, u64 address, s64 length)
{
	u64 thread = pid_and_thread();
	struct call call = { .began = monotonic_ns(), .kind = kind, .descriptor = descriptor };
	// An address that cannot be read, or is too short, fails the call: then the socket tells whose family it is.
	u16 family = 0;
	if (kind != LISTEN && !read_user(&family, sizeof family, address) && family != INET && family != INET6)
		return;
	// Constant sizes: struct sockaddr_in, and the longer one.
	u8 raw[28] = {};
	if (family && length >= 16 && !(family == INET ? read_user(raw, 16, address) : read_user(raw, sizeof raw, address))) {
		u16 port = (u16)raw[2] << 8 | raw[3];
		u8 *to = kind == BIND ? call.ends.local : call.ends.remote;
		if (family == INET)
			__builtin_memcpy(to, raw + 4, 4);
		else
			__builtin_memcpy(to, raw + 8, 16);
		call.ends.family = family;
		if (kind == BIND)
			call.ends.local_port = port;
		else
			call.ends.remote_port = port;
	}
	if (map_update(&calls_map, &thread, &call, 0))
		lost();
}

// Tells of a call; who made it is in `connection`, or else the running task.
INLINE void tell(const struct settings *at, u32 kind, u32 outcome, s32 error, u64 began, u32 network,
		 const struct ends *ends, const struct connection *connection)
{
	struct event *event = ring_reserve(&events_map, sizeof *event, 0);
	if (!event) {
		lost();
		return;
	}
	event->at = monotonic_ns();
	event->took = event->at - began;
	event->error = error;
	event->network = network;
	event->kind = kind;
	event->outcome = outcome;
	event->unused = 0;
	event->unused2 = 0;
	event->ends = *ends;
	if (connection) {
		event->pid = connection->process >> 32;
		event->user = connection->user;
		__builtin_memcpy(event->name, connection->name, sizeof event->name);
	} else {
		event->pid = pid_and_thread() >> 32;
		event->user = user_and_group();
		read_name(at, event->name);
	}
	ring_submit(event, 0);
}

// Tells how a connection ended whose call was over before.
INLINE void tell_connection(const struct settings *at, const struct connection *connection)
{
	if (connection->ended == ST_ESTABLISHED) {
		if (at->all)
			tell(at, CONNECT, DONE, 0, connection->began, connection->network, &connection->ends, connection);
	} else {
		u32 outcome = connection->error ? FAILED_LATER : GIVEN_UP;
		tell(at, CONNECT, outcome, connection->error, connection->began, connection->network,
		     &connection->ends, connection);
	}
}

INLINE void end(u32 kind, s64 result)
{
	u64 thread = pid_and_thread();
	struct call *found = map_lookup(&calls_map, &thread);
	const struct settings *at = settings();
	if (!found || !at)
		return;
	struct call call = *found;
	map_delete(&calls_map, &thread);
	if (call.kind != kind)
		return;
	s32 error = result < 0 ? -result : 0;
	struct connection *connection = call.sock ? map_lookup(&connections_map, &call.sock) : 0;
	int goes_on = error == E_INPROGRESS || error == E_ALREADY || error == E_INTR ||
		      (error >= FIRST_RESTART && error <= LAST_RESTART);
	if (kind == CONNECT && goes_on) {
		if (!connection)
			return;
		if (!connection->ended) {
			connection->returned = 1;
			return;
		}
		tell_connection(at, connection);
		map_delete(&connections_map, &call.sock);
		return;
	}
	if (connection) {
		call.ends = connection->ends;
		map_delete(&connections_map, &call.sock);
	}
	if (!at->all && !error)
		return;
	int no_socket = error == E_BADF || error == E_NOTSOCK;
	u64 sock = call.sock ? call.sock : no_socket ? 0 : sock_of(at, call.descriptor);
	struct ends has = {};
	if (sock && !connection)
		read_ends(at, sock, &has);
	if (kind == CONNECT && error == E_ISCONN && is_peer(&has, &call.ends))
		return;
	// Of listen() only the socket tells whose family it is, and of an address that could not be read.
	int unread = !call.ends.family;
	if (unread)
		call.ends = has;
	if (!no_socket && call.ends.family != INET && call.ends.family != INET6)
		return;
	if (unread && error && kind != LISTEN) {
		// What was asked for in vain is not what the socket has.
		call.ends.family = 0;
	} else if (kind == CONNECT && call.ends.family == has.family) {
		call.ends.local_port = has.local_port;
		__builtin_memcpy(call.ends.local, has.local, sizeof has.local);
	}
	call.ends.protocol = sock ? protocol_of(at, sock) : 0;
	call.ends.range = sock ? range_of(at, sock) : 0;
	tell(at, kind, error ? FAILED : DONE, error, call.began, network_of(at, sock), &call.ends, 0);
}

// connect() and what does the same without that call: io_uring, sendto() with TCP Fast Open, the kernel's own clients.
INLINE void sent_syn(const struct settings *at, u64 sock)
{
	u64 thread = pid_and_thread();
	struct call *call = map_lookup(&calls_map, &thread);
	struct connection connection = { .process = thread, .user = user_and_group(), .returned = 1 };
	connection.network = network_of(at, sock);
	read_name(at, connection.name);
	read_ends(at, sock, &connection.ends);
	connection.ends.protocol = TCP;
	connection.ends.range = range_of(at, sock);
	if (call && call->kind == CONNECT) {
		call->sock = sock;
		connection.began = call->began;
		connection.returned = 0;
	} else {
		connection.began = monotonic_ns();
	}
	if (map_update(&connections_map, &sock, &connection, 0))
		lost();
}

INLINE void left_syn_sent(const struct settings *at, u64 sock, s32 state)
{
	struct connection *connection = map_lookup(&connections_map, &sock);
	if (!connection)
		return;
	u16 port = 0;
	// Once it is closed a socket has given its port back, but this member keeps it.
	read_kernel(&port, sizeof port, sock + at->sock_port);
	connection->ends.local_port = __builtin_bswap16(port);
	connection->ended = state;
	if (state == ST_CLOSE) {
		s32 error = 0;
		read_kernel(&error, sizeof error, sock + at->sock_error);
		// Nobody wrote down an error, and it never had a port: none was left.
		if (!error && !port)
			error = E_ADDRNOTAVAIL;
		connection->error = error;
	}
	if (!connection->returned)
		return;
	tell_connection(at, connection);
	map_delete(&connections_map, &sock);
}

INLINE void state_changed(u64 sock, s32 old, s32 new)
{
	const struct settings *at = settings();
	if (!at || !(new == ST_SYN_SENT || new == ST_LISTEN || old == ST_SYN_SENT))
		return;
	if (protocol_of(at, sock) != TCP)
		return;
	if (new == ST_SYN_SENT) {
		sent_syn(at, sock);
	} else if (new == ST_LISTEN) {
		u64 thread = pid_and_thread();
		struct call *call = map_lookup(&calls_map, &thread);
		if (call && call->kind == LISTEN) {
			call->sock = sock;
			read_ends(at, sock, &call->ends);
		}
	} else {
		left_syn_sent(at, sock, new);
	}
}

SECTION("raw_tp/inet_sock_set_state") int state(u64 *arguments)
{
	state_changed(arguments[0], (s32)arguments[1], (s32)arguments[2]);
	return 0;
}

// With 0 nobody else who reads the tracepoint by perf would be told of the call.
enum { PASS_ON = 1 };

// The loader checks these against the formats that tracefs tells.
struct entered {
	u64 common;
	s32 number;
	u32 padding;
	u64 arguments[3];
};

struct exited {
	u64 common;
	s32 number;
	u32 padding;
	s64 result;
};

SECTION("tp/sys_enter_bind") int bind_enter(const struct entered *at)
{
	begin(BIND, at->arguments[0], at->arguments[1], (s32)at->arguments[2]);
	return PASS_ON;
}

SECTION("tp/sys_exit_bind") int bind_exit(const struct exited *at)
{
	end(BIND, at->result);
	return PASS_ON;
}

SECTION("tp/sys_enter_connect") int connect_enter(const struct entered *at)
{
	begin(CONNECT, at->arguments[0], at->arguments[1], (s32)at->arguments[2]);
	return PASS_ON;
}

SECTION("tp/sys_exit_connect") int connect_exit(const struct exited *at)
{
	end(CONNECT, at->result);
	return PASS_ON;
}

SECTION("tp/sys_enter_listen") int listen_enter(const struct entered *at)
{
	begin(LISTEN, at->arguments[0], 0, 0);
	return PASS_ON;
}

SECTION("tp/sys_exit_listen") int listen_exit(const struct exited *at)
{
	end(LISTEN, at->result);
	return PASS_ON;
}

// The SHA-256 of this file and the compiler, by whoever builds it.
char SECTION("built") built_from[] = BUILT;
