// Package postgres runs PostgreSQL servers for tests: Debian's, on loopback, in a
// folder of their own.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a running server.
type Server struct {
	Port int
	place

	dsn      string // of a server that is not ours
	t        testing.TB
	settings []string
	cmd      *exec.Cmd
	made     atomic.Int64 // databases
}

// place is a folder and who works there: PostgreSQL refuses to be root.
type place struct {
	Dir string // with data folders and logs
	as  *syscall.Credential
}

// newPlace makes a folder that goes with the test.
func newPlace(t testing.TB) (p place) {
	t.Helper()
	dir, err := os.MkdirTemp("", "tandem-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	p.Dir = dir
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if os.Getuid() == 0 {
		if p.as, err = unprivileged(); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, int(p.as.Uid), int(p.as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// Start makes a server and starts it. It ends with the test. Settings are those of
// postgresql.conf, "name=value".
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s := &Server{place: newPlace(t), t: t, settings: settings}
	initdb := s.command(t.Context(), "initdb", "-D", s.data(), "-U", "tandem", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	t.Cleanup(s.Stop)
	s.Run()
	return s
}

// DSN names the environment variable with the URL of a database on a server of another
// kind, or somewhere else, that tests shall use ("make test-dsn").
const DSN = "TANDEM_TEST_DSN"

// Given is the server that DSN names, or else a new one. It can be neither stopped nor
// killed.
func Given(t testing.TB) *Server {
	t.Helper()
	if dsn := os.Getenv(DSN); dsn != "" {
		return &Server{dsn: dsn, t: t}
	}
	return Start(t)
}

func (s *Server) data() string { return filepath.Join(s.Dir, "data") }

// unprivileged is the user whom Debian's package makes.
func unprivileged() (*syscall.Credential, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root, and %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// Program is the path of one of PostgreSQL's programs: Debian has those of the server
// beside its version.
func Program(name string) string {
	if path, err := exec.LookPath(name); err == nil && name != "pgbench" {
		return path
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name) // the pattern is well formed
	if len(found) == 0 {
		return name
	}
	return found[len(found)-1]
}

func (p place) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, Program(name), args...)
	c.Dir = p.Dir
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	c.SysProcAttr = &syscall.SysProcAttr{Credential: p.as}
	return c
}

// attempts bounds how often another port is taken: somebody may have taken a free one.
const attempts = 5

// Run starts a server that has been stopped or killed, on the port that it had.
func (s *Server) Run() {
	s.t.Helper()
	var err error
	for range attempts {
		if err = s.run(); err == nil {
			return
		}
		s.Kill()
		s.Port = 0
	}
	log, _ := os.ReadFile(filepath.Join(s.Dir, "log"))
	s.t.Fatalf("PostgreSQL did not start: %v\n%s", err, log)
}

func (s *Server) run() error {
	if s.Port == 0 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		s.Port = l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(filepath.Join(s.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	args := []string{"-D", s.data(), "-p", strconv.Itoa(s.Port)}
	for _, setting := range append([]string{"listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "max_connections=200",
		"shared_buffers=64MB", "deadlock_timeout=100ms"}, s.settings...) {
		args = append(args, "-c", setting)
	}
	s.cmd = s.command(context.Background(), "postgres", args...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	return s.wait(s.t.Context())
}

// wait waits until the server answers.
func (s *Server) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		if s.cmd.Process.Signal(syscall.Signal(0)) != nil {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// URL is where a database of the server is.
func (s *Server) URL(database string) string {
	if s.dsn != "" {
		u, err := url.Parse(s.dsn)
		if err != nil {
			s.t.Fatalf("%s is no URL", DSN)
		}
		if database != "postgres" { // where databases are made
			u.Path = "/" + database
		}
		return u.String()
	}
	return fmt.Sprintf("postgres://tandem@127.0.0.1:%d/%s?sslmode=disable", s.Port, database)
}

// Database makes a database, a copy of another one unless that is "", which goes with
// the test.
func (s *Server) Database(t testing.TB, template string) (name string) {
	t.Helper()
	name = fmt.Sprintf("tandem_t%d_%d", os.Getpid(), s.made.Add(1))
	text := "CREATE DATABASE " + name
	if template != "" {
		text += " TEMPLATE " + template
	}
	s.Exec(t, "postgres", text)
	t.Cleanup(func() { s.Exec(t, "postgres", "DROP DATABASE IF EXISTS "+name) })
	return name
}

// Exec runs a statement.
func (s *Server) Exec(t testing.TB, database, text string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(ctx, text, args...)
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		t.Fatalf("%s: %v", strings.Fields(text)[0], err)
	}
}

// Stop ends the server as an operator does in a hurry: whoever is connected is cut off.
func (s *Server) Stop() { s.end(syscall.SIGINT) }

// Kill ends it without a word: kill -9 of the server and of those that serve.
func (s *Server) Kill() { s.end(syscall.SIGQUIT) }

func (s *Server) end(signal syscall.Signal) {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Signal(signal)
	_ = s.cmd.Wait()
	s.cmd = nil
}
