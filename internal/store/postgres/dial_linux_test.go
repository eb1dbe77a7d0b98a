package postgres

import (
	"context"
	"net"
	"testing"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	server "tandem/internal/testkit/postgres"
)

// Who has no answer is broken off after as long as who has no acknowledgement.
func TestTheSystemGivesUpASilentServerByItself(t *testing.T) {
	srv := server.Start(t)
	c, err := parse(srv.URL(srv.Database(t, "")))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), c.ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	raw, err := conn.PgConn().Conn().(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	got := map[int]int{}
	err = raw.Control(func(fd uintptr) {
		for _, option := range []int{unix.TCP_USER_TIMEOUT, unix.TCP_KEEPIDLE, unix.TCP_KEEPINTVL, unix.TCP_KEEPCNT} {
			got[option], _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, option)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	asked := got[unix.TCP_KEEPIDLE] + got[unix.TCP_KEEPINTVL]*got[unix.TCP_KEEPCNT]
	if sent := got[unix.TCP_USER_TIMEOUT]; sent != int(silentFor.Milliseconds()) || asked != int(silentFor.Seconds()) {
		t.Errorf("after %d ms, and %d s", sent, asked)
	}
}
