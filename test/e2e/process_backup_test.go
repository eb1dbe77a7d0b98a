package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"tandem/internal/client"
	"tandem/internal/store"
	"tandem/internal/store/sqlite"
	"tandem/internal/store/storetest"
	"tandem/test/world"
)

// run runs another command of the program on the site's settings and gives what it says.
func (s *site) run(args ...string) (text string, err error) {
	cmd := exec.CommandContext(s.ctx, s.binary, args...)
	cmd.Env = append([]string{"TANDEM_DATA_DIR=" + s.dir}, s.environ...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// refuses runs a command that must fail and say why.
func (s *site) refuses(why string, args ...string) {
	s.t.Helper()
	if out, err := s.run(args...); err == nil || !strings.Contains(out, why) {
		s.t.Errorf("tandem %v: %v, %s", args, err, out)
	}
}

// writing lets clients create allocations until stop, which gives all that were acknowledged.
type writing struct {
	mu    sync.Mutex
	acked []string
	stop  func() []string
}

func (s *site) keepWriting() *writing {
	w := &writing{}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for writer := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				a, err := s.api.CreateAllocation(s.ctx, "acme", client.NewAllocation{CallerIDNumber: virtual,
					From: []string{fmt.Sprintf("+9177%d%07d", writer, i)}, To: []string{fmt.Sprintf("+9178%d%07d", writer, i)}})
				if err != nil {
					s.t.Error(err)
					return
				}
				w.mu.Lock()
				w.acked = append(w.acked, a.GreenVNID)
				w.mu.Unlock()
			}
		})
	}
	w.stop = func() []string {
		close(done)
		wg.Wait()
		return w.acked
	}
	return w
}

// soFar is what was acknowledged until now.
func (w *writing) soFar() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.acked)
}

// backupHasWhatWasAcknowledged makes a backup while clients write and a call talks, and
// goes on with it in another folder.
func backupHasWhatWasAcknowledged(t *testing.T, s *site) {
	p := s.start()
	c := s.connect(p)
	first, second := c.pair(1), c.pair(2)
	a, b := c.talk(p, first)
	w := s.keepWriting()
	s.wait("some allocations", func() bool { return len(w.soFar()) >= 50 })

	before := w.soFar()
	file := filepath.Join(t.TempDir(), "backup.db")
	out, err := s.run("backup", file)
	if err != nil || !strings.Contains(out, "NOT in it") || !strings.Contains(out, filepath.Join(s.dir, "master.key")) {
		t.Fatalf("backup: %v\n%s", err, out)
	}
	after := w.stop()
	s.must(a.HearsTone(s.ctx, 1000))
	s.must(b.HearsTone(s.ctx, 440))
	s.refuses("is in use by another tandem", "restore", "--replace", file)
	s.refuses("there already", "backup", file)
	s.must(a.Hangup(s.ctx))
	p.terminate()
	p.over()
	s.refuses("is not empty", "restore", file)

	old := s.dir
	s.dir = t.TempDir()
	if out, err := s.run("restore", file); err != nil || !strings.Contains(out, "the counts agree") {
		t.Fatalf("restore: %v\n%s", err, out)
	}
	s.refuses("master.key is not there", "serve")
	for _, name := range []string{"master.key", "admin.token"} {
		raw, err := os.ReadFile(filepath.Join(old, name))
		s.must(err)
		s.must(os.WriteFile(filepath.Join(s.dir, name), raw, 0o600))
	}
	p = s.start()
	for _, id := range before {
		if _, err := s.api.Allocation(s.ctx, "acme", id); err != nil {
			t.Errorf("what was acknowledged before the backup is gone: %v", err)
		}
	}
	missing := 0
	for _, id := range after[len(before):] {
		if _, err := s.api.Allocation(s.ctx, "acme", id); err != nil {
			missing++
		}
	}
	t.Logf("%d were acknowledged before the backup and are there; %d came while it was made or later, and %d of them are not in it", len(before), len(after)-len(before), missing)
	c.known(p)
	a, _ = c.talk(p, second)
	s.must(a.Hangup(s.ctx))
	// The call that talked when the backup was made is nobody's any more.
	s.wait("the ends of both calls", func() bool { return s.told("call.completed") == 2 })
	s.ended(map[string]int{"node_lost": 1, "caller_hung_up": 1})
}

// copyOutlivesKills kills copies once they have come to some table, and lets the last
// one finish.
func copyOutlivesKills(t *testing.T, s *site) {
	from := filepath.Join(t.TempDir(), "from.db")
	db, err := sqlite.Open(s.ctx, sqlite.Options{Path: from, Synchronous: sqlite.Normal})
	s.must(err)
	storetest.Fill(t, db, 2000)
	s.must(db.Close())
	to := filepath.Join(s.dir, "copied.db")
	args := []string{"copy", "--from", "sqlite:" + from, "--to", "sqlite:" + to}
	for _, table := range []string{"party", "tenant", "allocation"} {
		said := &world.Log{}
		cmd := exec.CommandContext(s.ctx, s.binary, args...)
		cmd.Stdout, cmd.Stderr = said, said
		s.must(cmd.Start())
		s.wait("rows of "+table, func() bool { return strings.Contains(said.String(), "\n"+table+":") })
		s.must(cmd.Process.Kill())
		if err := cmd.Wait(); err == nil {
			t.Errorf("it was done before it was killed:\n%s", said)
		}
		if out, err := s.run("serve", "--database-url", "sqlite:"+to); err == nil || !strings.Contains(out, "was not finished") {
			t.Errorf("a server on half a copy: %v\n%s", err, out)
		}
	}
	out, err := s.run(args...)
	if err != nil || !strings.Contains(out, "by a run before") || !strings.Contains(out, "the counts agree") {
		t.Fatalf("%v\n%s", err, out)
	}
	if s.everyRow(from) != s.everyRow(to) {
		t.Error("the copy is something else")
	}
	s.refuses("is not empty", args...)
}

// everyRow is what a database has.
func (s *site) everyRow(path string) string {
	s.t.Helper()
	db, err := sqlite.Open(s.ctx, sqlite.Options{Path: path})
	s.must(err)
	defer func() { s.must(db.Close()) }()
	var text strings.Builder
	s.must(db.View(s.ctx, func(ctx context.Context, tx store.Reader) error {
		tables, err := tx.Tables(ctx)
		if err != nil {
			return err
		}
		for _, table := range tables {
			rows, err := tx.Rows(ctx, table, nil, 100000)
			if err != nil {
				return err
			}
			fmt.Fprintf(&text, "%s %q\n", table.Name, rows)
		}
		return nil
	}))
	return text.String()
}
