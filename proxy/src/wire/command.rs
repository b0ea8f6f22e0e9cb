//! What a client asks for: the first byte of a command packet.

/// The commands that the proxy knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Command {
    Quit = 0x01,
    InitDb = 0x02,
    Query = 0x03,
    FieldList = 0x04,
    Statistics = 0x09,
    ProcessKill = 0x0C,
    Ping = 0x0E,
    ChangeUser = 0x11,
    StmtPrepare = 0x16,
    StmtExecute = 0x17,
    StmtSendLongData = 0x18,
    StmtClose = 0x19,
    StmtReset = 0x1A,
    SetOption = 0x1B,
    StmtFetch = 0x1C,
    ResetConnection = 0x1F,
}

impl Command {
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Command> {
        use Command::{
            ChangeUser, FieldList, InitDb, Ping, ProcessKill, Query, Quit, ResetConnection, SetOption,
            Statistics, StmtClose, StmtExecute, StmtFetch, StmtPrepare, StmtReset, StmtSendLongData,
        };
        const ALL: [Command; 16] = [
            Quit,
            InitDb,
            Query,
            FieldList,
            Statistics,
            ProcessKill,
            Ping,
            ChangeUser,
            StmtPrepare,
            StmtExecute,
            StmtSendLongData,
            StmtClose,
            StmtReset,
            SetOption,
            StmtFetch,
            ResetConnection,
        ];
        ALL.into_iter().find(|command| *command as u8 == byte)
    }
}
