//! The messages of the systems for the codes that matter here, in ten languages, and words for "error".
//!
//! Source: glibc's message catalogues (strerror), Windows' system messages (FormatMessage) as they stand in public
//! bug reports. Shortened to the part that does not vary between versions; lower case.
//!
//! Left out on purpose: codes that a message alone does not decide ("access denied" of files, "timed out").

use crate::kernel::error_code::{self, ErrorCode};

/// Words before an error number, besides those of ASCII letters in `code.rs`.
pub(super) const ERROR_WORDS: &[&str] = &[
    "ошибка",
    "Ошибка",
    "エラー",
    "エラー コード",
    "错误",
    "错误代码",
    "錯誤",
    "오류",
    "código",
    "código de erro",
];

/// Code, and the messages for it.
const MESSAGES: &[(&str, &[&str])] = &[
    (
        "WSAEADDRINUSE",
        &[
            "only one usage of each socket address",
            "normalerweise darf jede socketadresse",
            "une seule utilisation de chaque adresse de socket",
            "solo se permite un uso de cada dirección de socket",
            "sólo se permite un uso de cada dirección de socket",
            "normalmente é permitida apenas uma utilização de cada endereço",
            "di norma è consentito un solo utilizzo di ogni indirizzo",
            "各ソケット アドレスに対してプロトコル",
            "每个套接字地址",
            "每個通訊端位址",
            "각 소켓 주소(프로토콜/네트워크 주소/포트)는 하나만",
            "обычно разрешается только одно использование адреса сокета",
        ],
    ),
    (
        "WSAEACCES",
        &[
            "attempt was made to access a socket in a way forbidden",
            "zugriff auf einen socket war aufgrund der zugriffsrechte",
            "accès à un socket de manière interdite",
            "intento de acceso a un socket no permitido",
            "tentativa de acesso a um soquete de uma maneira que é proibida",
            "tentativo di accesso al socket con modalità non consentite",
            "アクセス許可で禁じられた方法でソケットにアクセス",
            "访问权限不允许的方式做了一个访问套接字",
            "嘗試存取通訊端被拒絕",
            "액세스 권한에 의해 숨겨진 소켓에 액세스를 시도",
            "попытка доступа к сокету методом, запрещенным правами доступа",
        ],
    ),
    (
        "WSAEADDRNOTAVAIL",
        &[
            "requested address is not valid in its context",
            "angeforderte adresse ist in diesem kontext ungültig",
            "adresse demandée n'est pas valide dans son contexte",
            "la dirección solicitada no es válida en este contexto",
            "o endereço solicitado não é válido",
            "indirizzo richiesto non valido nel proprio contesto",
            "要求したアドレスのコンテキストが無効です",
            "在其上下文中，该请求的地址无效",
            "在其上下文中,该请求的地址无效",
            "요청한 주소는 해당 컨텍스트에서 유효하지 않습니다",
            "требуемый адрес для своего контекста неверен",
        ],
    ),
    (
        "WSAECONNREFUSED",
        &[
            "target machine actively refused",
            "target computer actively refused",
            "zielcomputer die verbindung verweigerte",
            "ordinateur cible l'a expressément refusée",
            "equipo de destino denegó expresamente",
            "máquina de destino as recusou ativamente",
            "rifiuto persistente del computer di destinazione",
            "対象のコンピューターによって拒否された",
            "目标计算机积极拒绝",
            "目標電腦拒絕連線",
            "대상 컴퓨터에서 연결을 거부",
            "конечный компьютер отверг запрос на подключение",
        ],
    ),
    (
        "WSAENOBUFS",
        &[
            "system lacked sufficient buffer space",
            "socketvorgang konnte nicht ausgeführt werden",
            "opération sur un socket n'a pas pu être effectuée",
            "el sistema carece de espacio de búfer",
            "uma operação em um soquete não pôde ser executada",
            "impossibile eseguire un'operazione sul socket",
            "システムのバッファー領域が不足",
            "系统缓冲区空间不足或队列已满",
            "시스템의 버퍼 공간이 부족하거나",
            "нехватки буферного пространства",
            "недостаточно места в буфере",
        ],
    ),
    ("WSAETIMEDOUT", &["connected party did not properly respond"]),
    ("WSAEHOSTUNREACH", &["socket operation was attempted to an unreachable host"]),
    ("WSAENETUNREACH", &["socket operation was attempted to an unreachable network"]),
    (
        "EADDRINUSE",
        &[
            "address already in use",
            "address in use",
            "die adresse wird bereits verwendet",
            "adresse déjà utilisée",
            "la dirección ya se está usando",
            "endereço já em uso",
            "indirizzo già in uso",
            "アドレスは既に使用中です",
            "地址已在使用",
            "地址已被使用",
            "位址已經有在使用",
            "주소가 이미 사용 중입니다",
            "адрес уже используется",
        ],
    ),
    (
        "EADDRNOTAVAIL",
        &[
            "cannot assign requested address",
            "can't assign requested address",
            "angeforderte adresse kann nicht zugewiesen werden",
            "attribuer l'adresse demandée",
            "assigner l'adresse demandée",
            "no se puede asignar la dirección solicitada",
            "acessar o endereço requisitado",
            "atribuir o endereço pedido",
            "impossibile assegnare l'indirizzo richiesto",
            "要求アドレスに割り当て",
            "无法指定被请求的地址",
            "無法指定所需的位址",
            "요청한 주소를 배정할 수 없습니다",
            "невозможно назначить запрошенный адрес",
        ],
    ),
    (
        "ECONNREFUSED",
        &[
            "connection refused",
            "verbindungsaufbau abgelehnt",
            "connexion refusée",
            "conexión rehusada",
            "conexão recusada",
            "ligação recusada",
            "connessione rifiutata",
            "接続を拒否されました",
            "拒绝连接",
            "连接被拒绝",
            "連線被拒絕",
            "연결이 거부됨",
            "в соединении отказано",
        ],
    ),
    (
        "EACCES",
        &[
            "permission denied",
            "keine berechtigung",
            "permission non accordée",
            "permiso denegado",
            "permissão negada",
            "permissão recusada",
            "permesso negato",
            "許可がありません",
            "权限不够",
            "拒絕不符權限的操作",
            "허가 거부",
            "отказано в доступе",
        ],
    ),
    ("EPERM", &["operation not permitted"]),
    ("EHOSTUNREACH", &["no route to host"]),
    ("ENETUNREACH", &["network is unreachable"]),
    ("ETIMEDOUT", &["connection timed out"]),
    ("ENOBUFS", &["no buffer space available"]),
    ("EAFNOSUPPORT", &["address family not supported"]),
    ("EMFILE", &["too many open files"]),
];

/// The code whose message stands in the text.
pub(super) fn told(text: &str) -> Option<&'static ErrorCode> {
    let lower = text.to_lowercase().replace('’', "'");
    let (name, _) =
        MESSAGES.iter().find(|(_, messages)| messages.iter().any(|message| lower.contains(message)))?;
    error_code::by_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_table_and_every_message_in_lower_case() {
        for (name, messages) in MESSAGES {
            assert!(error_code::by_name(name).is_some(), "{name}");
            for message in *messages {
                assert_eq!(*message, message.to_lowercase(), "{name}");
            }
        }
    }
}
