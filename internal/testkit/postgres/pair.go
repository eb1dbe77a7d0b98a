package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Pair is two servers, of which one follows the other synchronously, each under
// Debian's Patroni; those agree by an etcd who is the primary. When one dies with all
// that is on its machine, the other takes its place.
type Pair struct {
	place
	t       testing.TB
	ports   []int // of PostgreSQL, then of Patroni, then those of etcd
	etcd    *exec.Cmd
	members [2]*exec.Cmd // Patroni; nil while dead
}

// StartPair makes a pair and waits until it is one. It ends with the test.
func StartPair(t testing.TB) *Pair {
	t.Helper()
	p := &Pair{place: newPlace(t), t: t, ports: freePorts(t, 6)}
	t.Cleanup(p.stop)
	peers := fmt.Sprintf("http://127.0.0.1:%d", p.ports[5])
	p.etcd = p.start("etcd", "--data-dir", filepath.Join(p.Dir, "etcd"), "--listen-client-urls", "http://"+p.keeper(), "--advertise-client-urls", "http://"+p.keeper(),
		"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "default="+peers)
	for i := range p.members {
		if err := os.WriteFile(p.file(i), []byte(p.settings(i)), 0o644); err != nil {
			t.Fatal(err)
		}
		p.members[i] = p.start("patroni", p.file(i))
	}
	p.Whole()
	return p
}

func (p *Pair) keeper() string      { return fmt.Sprintf("127.0.0.1:%d", p.ports[4]) }
func (p *Pair) file(i int) string   { return filepath.Join(p.Dir, name(i)+".yml") }
func (p *Pair) folder(i int) string { return filepath.Join(p.Dir, name(i)) }
func name(i int) string             { return "db" + strconv.Itoa(i+1) }

// settings are Patroni's. docs/operations.md shows the same to operators, with the
// waits that Patroni proposes in place of these short ones.
func (p *Pair) settings(i int) string {
	return fmt.Sprintf(`scope: tandem
name: %[1]s
restapi: {listen: "127.0.0.1:%[2]d", connect_address: "127.0.0.1:%[2]d"}
etcd3: {host: "%[3]s"}
bootstrap:
  dcs:
    ttl: 10
    loop_wait: 1
    retry_timeout: 4
    synchronous_mode: true
    postgresql:
      use_pg_rewind: true
      parameters: {max_connections: 200, synchronous_commit: "on"}
  initdb: [{auth: trust}, {encoding: UTF8}, {locale: C.UTF-8}, no-sync]
  pg_hba: ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"]
postgresql:
  listen: "127.0.0.1:%[4]d"
  connect_address: "127.0.0.1:%[4]d"
  data_dir: "%[5]s"
  bin_dir: "%[6]s"
  pgpass: "%[5]s.pgpass"
  authentication: {superuser: {username: tandem}, rewind: {username: tandem}, replication: {username: standby}}
  parameters: {unix_socket_directories: "", fsync: "off", shared_buffers: 64MB}
`, name(i), p.ports[2+i], p.keeper(), p.ports[i], p.folder(i), filepath.Dir(real(Program("pg_rewind"))))
}

// real is where a program lies of which PATH may have a link only.
func real(path string) string {
	if to, err := filepath.EvalSymlinks(path); err == nil {
		return to
	}
	return path
}

// start starts a program, which writes what it says into a file of its name.
func (p *Pair) start(program string, args ...string) *exec.Cmd {
	p.t.Helper()
	log, err := os.OpenFile(filepath.Join(p.Dir, filepath.Base(args[len(args)-1])+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	c := p.command(context.Background(), program, args...)
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		p.t.Fatal(err)
	}
	return c
}

// URL is where a database of the pair is: at both, of which one takes writes.
func (p *Pair) URL(database string) string {
	return fmt.Sprintf("postgres://tandem@127.0.0.1:%d,127.0.0.1:%d/%s?sslmode=disable&target_session_attrs=read-write&connect_timeout=2",
		p.ports[0], p.ports[1], database)
}

// Database makes a database and waits until the standby has it too: whoever is told
// there that it is not asks no other. It goes with the pair.
func (p *Pair) Database() string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.URL("postgres"))
	if err != nil {
		p.t.Fatal(err)
	}
	_, err = conn.Exec(ctx, "CREATE DATABASE tandem")
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		p.t.Fatal(err)
	}
	for _, port := range p.ports[:2] {
		at := fmt.Sprintf("postgres://tandem@127.0.0.1:%d/tandem?sslmode=disable", port)
		for conn, err = pgx.Connect(ctx, at); err != nil; conn, err = pgx.Connect(ctx, at) {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				p.t.Fatal(err)
			}
		}
		_ = conn.Close(ctx)
	}
	return p.URL("tandem")
}

// Whole waits until there is a primary and a standby without which it commits nothing.
func (p *Pair) Whole() {
	p.t.Helper()
	p.wait("a synchronous pair", func(is [2]string) bool {
		return is == [2]string{"leader", "sync_standby"} || is == [2]string{"sync_standby", "leader"}
	})
}

// KillPrimary ends the primary's machine: Patroni, PostgreSQL and all that serve die
// at once, without a word. It gives the moment at which nothing of it lives any more.
func (p *Pair) KillPrimary() time.Time {
	p.t.Helper()
	which := -1
	for i, is := range p.roles() {
		if is == "leader" {
			which = i
		}
	}
	if which < 0 || p.members[which] == nil {
		p.t.Fatal("there is no primary to kill")
	}
	p.kill(which)
	return time.Now()
}

// kill ends a member of the pair with kill -9 of all its processes.
func (p *Pair) kill(i int) {
	if p.members[i] == nil {
		return
	}
	_ = p.members[i].Process.Kill()
	pid, _, _ := strings.Cut(read(filepath.Join(p.folder(i), "postmaster.pid")), "\n")
	served := strings.Fields(read("/proc/" + pid + "/task/" + pid + "/children"))
	for _, one := range append([]string{pid}, served...) {
		if n, err := strconv.Atoi(one); err == nil && n > 1 {
			_ = syscall.Kill(n, syscall.SIGKILL) // it may be gone already
		}
	}
	_ = p.members[i].Wait()
	p.members[i] = nil
}

// read is what a file holds; nothing if it cannot be read.
func read(path string) string {
	b, _ := os.ReadFile(path)
	return string(b)
}

// Revive starts again what has been killed, and waits until it follows.
func (p *Pair) Revive() {
	p.t.Helper()
	for i := range p.members {
		if p.members[i] == nil {
			p.members[i] = p.start("patroni", p.file(i))
		}
	}
	p.Whole()
}

// roles are those that the members have, as the living say.
func (p *Pair) roles() (is [2]string) {
	web := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for i := range p.members {
		if p.members[i] == nil {
			continue
		}
		res, err := web.Get(fmt.Sprintf("http://127.0.0.1:%d/cluster", p.ports[2+i]))
		if err != nil {
			continue
		}
		var said struct {
			Members []struct{ Name, Role, State string } `json:"members"`
		}
		err = json.NewDecoder(res.Body).Decode(&said)
		_ = res.Body.Close()
		if err != nil {
			continue
		}
		for _, m := range said.Members {
			for k := range is {
				if m.Name == name(k) && m.State == "running" {
					is[k] = m.Role
				}
			}
		}
		return is
	}
	return is
}

// wait waits until the roles of the two are as they shall be.
func (p *Pair) wait(what string, holds func([2]string) bool) {
	p.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	enough := time.After(2 * time.Minute)
	for !holds(p.roles()) {
		select {
		case <-tick.C:
		case <-enough:
			logs, _ := filepath.Glob(filepath.Join(p.Dir, "*.log"))
			for _, log := range logs {
				text := read(log)
				p.t.Logf("%s:\n%s", log, text[max(0, len(text)-4000):])
			}
			p.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// stop ends all of it: nobody needs what it has.
func (p *Pair) stop() {
	for i := range p.members {
		p.kill(i)
	}
	if p.etcd != nil {
		_ = p.etcd.Process.Kill()
		_ = p.etcd.Wait()
	}
}

// freePorts finds ports for programs that cannot take a free one by themselves. They
// lie below those that the kernel hands out, so nobody is given one in between.
func freePorts(t testing.TB, n int) (ports []int) {
	t.Helper()
	for range 50 * n {
		port := 26000 + rand.IntN(6000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		defer func() { _ = l.Close() }()
		if ports = append(ports, port); len(ports) == n {
			return ports
		}
	}
	t.Fatalf("no %d free ports", n)
	return nil
}
