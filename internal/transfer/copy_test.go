package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/sqlite"
	"tandem/internal/store/storetest"
	"tandem/internal/testkit/database"
	"tandem/internal/transfer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	s := database.Open(t, sqlite.Options{Path: path, Synchronous: sqlite.Normal})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// databases are one with something in it, and an empty one.
func databases(t *testing.T) (from, to *sqlite.Store) {
	t.Helper()
	from, to = open(t, filepath.Join(t.TempDir(), "from.db")), open(t, filepath.Join(t.TempDir(), "to.db"))
	storetest.Fill(t, from, 200)
	return from, to
}

func options(from, to store.Store) transfer.Options {
	return transfer.Options{From: from, To: to, Clock: storetest.Start}
}

// content is every row of every table, where events go on, and the facts.
func content(t *testing.T, s store.Store) string {
	t.Helper()
	var text strings.Builder
	err := s.View(t.Context(), func(ctx context.Context, tx store.Reader) error {
		tables, err := tx.Tables(ctx)
		if err != nil {
			return err
		}
		for _, table := range tables {
			rows, err := tx.Rows(ctx, table, nil, 100000)
			if err != nil {
				return err
			}
			for _, row := range rows {
				fmt.Fprintf(&text, "%s %q\n", table.Name, row)
			}
		}
		head, err := tx.EventHead(ctx)
		fmt.Fprintf(&text, "events %d\n", head)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func fact(t *testing.T, s store.Store, name store.Fact) (value string) {
	t.Helper()
	err := s.View(t.Context(), func(ctx context.Context, tx store.Reader) (err error) {
		value, err = tx.Fact(ctx, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// withoutStates is the same without what a backup does not have.
func withoutStates(text string) string {
	return regexp.MustCompile(`(?m)^call_state .*\n`).ReplaceAllString(text, "")
}

func sameContent(t *testing.T, from, to store.Store) {
	t.Helper()
	if want, got := content(t, from), content(t, to); got != want {
		for i, line := range strings.Split(want, "\n") {
			if others := strings.Split(got, "\n"); i >= len(others) || others[i] != line {
				t.Fatalf("line %d of %d and %d is another one: %s", i, strings.Count(want, "\n"), strings.Count(got, "\n"), line)
			}
		}
	}
}

func refused(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

// change runs one Update that must succeed.
func change(t *testing.T, s store.Store, fn func(ctx context.Context, tx store.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func TestACopyHasEverythingAndGoesOnWhereTheSourceWas(t *testing.T) {
	from, to := databases(t)
	change(t, from, func(ctx context.Context, tx store.Tx) error {
		return errors.Join(tx.SetEventHead(ctx, 5000), tx.SetFact(ctx, store.FactMasterKey, "abc"))
	})
	r, err := transfer.Copy(t.Context(), options(from, to))
	if err != nil {
		t.Fatal(err)
	}
	if r.Resumed || r.Rows < 1000 {
		t.Errorf("report %+v", r)
	}
	sameContent(t, from, to)
	if was, is := fact(t, from, store.FactFilled), fact(t, to, store.FactFilled); was == is || fact(t, to, store.FactMasterKey) != "abc" {
		t.Errorf("the target says that it was filled by %q, the source by %q", is, was)
	}
	for _, s := range []store.Store{from, to} { // both go on the same way
		if err := storetest.Create(t.Context(), s, storetest.Allocation("acme", storetest.AllocationID(999), storetest.Virtual(1), storetest.People(901), storetest.People(902)), storetest.Start()); err != nil {
			t.Fatal(err)
		}
		change(t, s, func(ctx context.Context, tx store.Tx) error {
			return tx.AppendAudit(ctx, masking.AuditEntry{At: storetest.Start(), Actor: masking.Operator, Action: "x", Outcome: masking.OutcomeDone})
		})
	}
	sameContent(t, from, to)
	if !strings.Contains(content(t, to), "events 5001\n") {
		t.Error("the next event has another place")
	}
	if err := transfer.Serves(t.Context(), to); err != nil {
		t.Error(err)
	}
}

// Every batch is a transaction, so a run that is killed leaves what one leaves that is
// stopped between two.
func TestACopyThatWasStoppedGoesOnWhereItWas(t *testing.T) {
	from, to := databases(t)
	total, stops := int64(0), 0
	for {
		ctx, stop := context.WithCancel(t.Context())
		o := options(from, to)
		batches := 0
		o.Progress = func(transfer.Progress) {
			if batches++; batches == 7+stops { // each run comes a little further
				stop()
			}
		}
		r, err := transfer.Copy(ctx, o)
		total += r.Rows
		stopped := ctx.Err() != nil
		stop()
		if !stopped {
			if err != nil || !r.Resumed {
				t.Fatalf("%+v, %v", r, err)
			}
			break
		}
		if stops++; err == nil {
			t.Fatal("finished though it was stopped")
		}
		refused(t, transfer.Serves(t.Context(), to), "not complete")
	}
	sameContent(t, from, to)
	all := options(from, open(t, filepath.Join(t.TempDir(), "again.db")))
	r, err := transfer.Copy(t.Context(), all)
	if err != nil || total != r.Rows || stops < 5 {
		t.Errorf("%d rows in %d runs, %d in one; %v", total, stops+1, r.Rows, err)
	}
}

func TestACopyBeginsAnewIfItsSourceWasUsedMeanwhile(t *testing.T) {
	from, to := databases(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	o := options(from, to)
	o.Progress = func(p transfer.Progress) {
		if p.Table == "party" {
			stop()
		}
	}
	if _, err := transfer.Copy(ctx, o); err == nil {
		t.Fatal("finished though it was stopped")
	}
	if err := storetest.Delete(t.Context(), from, "acme", storetest.AllocationID(1), storetest.Start()); err != nil {
		t.Fatal(err)
	}
	change(t, from, func(ctx context.Context, tx store.Tx) error { return tx.SetEventHead(ctx, 900) })
	r, err := transfer.Copy(t.Context(), options(from, to))
	if err != nil || r.Resumed {
		t.Fatalf("%+v, %v", r, err)
	}
	sameContent(t, from, to)
}

// intrude lets something else write to the target while it is filled, once.
func intrude(t *testing.T, o transfer.Options) transfer.Options {
	once := false
	o.Progress = func(p transfer.Progress) {
		if p.Table == "trunk" && !once {
			once = true
			change(t, o.To, func(ctx context.Context, tx store.Tx) error {
				return tx.InsertTrunk(ctx, masking.Trunk{Name: "stranger", Transport: masking.UDP, NumberFormat: masking.FormatE164,
					CreatedAt: storetest.Start(), UpdatedAt: storetest.Start()})
			})
		}
	}
	return o
}

func TestACopyThatCameToSomethingElseBeginsAnew(t *testing.T) {
	from, to := databases(t)
	_, err := transfer.Copy(t.Context(), intrude(t, options(from, to)))
	refused(t, err, "target: table trunk has 1 rows, not 0: something else wrote to it; the next run begins anew")
	refused(t, transfer.Serves(t.Context(), to), "not complete")
	r, err := transfer.Copy(t.Context(), options(from, to))
	if err != nil || r.Resumed {
		t.Fatalf("%+v, %v", r, err)
	}
	sameContent(t, from, to)
}

func TestACopyThatReplacesBeginsAnewThoughAnEarlierRunWasStopped(t *testing.T) {
	from, to := databases(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	o := intrude(t, options(from, to)) // of which nobody learns
	wrote := o.Progress
	o.Progress = func(p transfer.Progress) {
		if wrote(p); p.Table == "webhook" {
			stop()
		}
	}
	if _, err := transfer.Copy(ctx, o); err == nil {
		t.Fatal("finished though it was stopped")
	}
	again := options(from, to)
	again.Replace = true
	r, err := transfer.Copy(t.Context(), again)
	if err != nil || r.Resumed {
		t.Fatalf("%+v, %v", r, err)
	}
	sameContent(t, from, to)
}

func alive(id string, at time.Time) masking.Node {
	return masking.Node{ID: id, StartedAt: at, SeenAt: at}
}

func join(n masking.Node) func(ctx context.Context, tx store.Tx) error {
	return func(ctx context.Context, tx store.Tx) error {
		_, err := tx.JoinNode(ctx, n, masking.Node{})
		return err
	}
}

func TestACopyRefusesDatabasesThatAreInUse(t *testing.T) {
	from, to := databases(t)
	change(t, to, join(alive("node-b", storetest.Start())))
	_, err := transfer.Copy(t.Context(), options(from, to))
	refused(t, err, "target: it is in use: node-b")
	change(t, from, join(alive("node-a", storetest.Start())))
	_, err = transfer.Copy(t.Context(), options(from, to))
	refused(t, err, "source: it is in use: node-a")
	if got := content(t, to); strings.Count(got, "\n") != 3 { // the node, the two heads
		t.Errorf("something was written:\n%s", got)
	}
	later := options(from, to)
	later.Clock = func() time.Time { return storetest.Start().Add(masking.Lease) }
	if _, err := transfer.Copy(t.Context(), later); err != nil { // into what a server was started on, and no more
		t.Error(err)
	}
}

// lives gives signs of life of a node whose clock is an hour behind, all the time.
func lives(t *testing.T, s store.Store, id string) (stop func()) {
	t.Helper()
	n := alive(id, storetest.Start().Add(-time.Hour))
	change(t, s, join(n))
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() {
		var err error
		for ctx.Err() == nil && err == nil {
			n.SeenAt = n.SeenAt.Add(time.Millisecond)
			err = s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
				_, _, err := tx.BeatNode(ctx, n)
				return err
			})
		}
		over <- err
	}()
	return func() {
		t.Helper()
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
	}
}

func TestAServerWhoseClockIsBehindIsSeenToBeAlive(t *testing.T) {
	from, to := databases(t)
	for name, s := range map[string]store.Store{"source": from, "target": to} {
		stop := lives(t, s, "late")
		_, err := transfer.Copy(t.Context(), options(from, to))
		refused(t, err, name+": it is in use: late")
		refused(t, transfer.Idle(t.Context(), s, storetest.Start()), "it is in use: late")
		stop()
		if err := transfer.Idle(t.Context(), s, storetest.Start()); err != nil { // it is dead now
			t.Error(err)
		}
	}
	if err := transfer.Serves(t.Context(), to); err != nil {
		t.Errorf("the server could not go on: %v", err)
	}
}

// A latecomer joins when something has been written.
type latecomer struct {
	store.Store
	t *testing.T
}

func (l *latecomer) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	err := l.Store.Update(ctx, fn)
	if t := l.t; t != nil {
		l.t = nil
		change(t, l.Store, join(alive("late", storetest.Start().Add(-time.Hour))))
	}
	return err
}

func TestAServerThatStartsWhenTheTargetSaysThatItIsBeingFilledIsSeen(t *testing.T) {
	from, to := databases(t)
	storetest.Fill(t, to, 3)
	o := options(from, &latecomer{to, t})
	o.Replace = true
	_, err := transfer.Copy(t.Context(), o)
	refused(t, err, "target: it is in use: late")
	if err := transfer.Serves(t.Context(), to); err != nil {
		t.Errorf("the server could not go on: %v", err)
	}
	if !strings.Contains(content(t, to), "acme") {
		t.Error("what was there is gone")
	}
}

func TestACopyNoticesThatItsSourceWasUsed(t *testing.T) {
	from, to := databases(t)
	o := options(from, to)
	once := false
	o.Progress = func(transfer.Progress) {
		if !once {
			once = true
			change(t, from, join(alive("node-a", storetest.Start())))
		}
	}
	_, err := transfer.Copy(t.Context(), o)
	refused(t, err, "used while it was copied")
	refused(t, transfer.Serves(t.Context(), to), "not complete")
}

func TestACopyRefusesATargetWithSomethingInItUnlessItIsToBeReplaced(t *testing.T) {
	from, to := databases(t)
	storetest.Fill(t, to, 3)
	before := content(t, to)
	_, err := transfer.Copy(t.Context(), options(from, to))
	refused(t, err, "target: it is not empty")
	if content(t, to) != before {
		t.Error("it was changed")
	}
	o := options(from, to)
	o.Replace = true
	if _, err := transfer.Copy(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	sameContent(t, from, to)
}

// backedUp is a backup of a database in use.
func backedUp(t *testing.T) (from, file *sqlite.Store) {
	t.Helper()
	from, file = databases(t)
	change(t, from, join(alive("node-a", storetest.Start())))
	o := options(from, file)
	o.Backup = true
	if _, err := transfer.Copy(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return from, file
}

func TestABackupIsTheDatabaseOfOneMomentThoughItIsInUse(t *testing.T) {
	from, file := databases(t)
	change(t, from, join(alive("node-a", storetest.Start())))
	change(t, from, func(ctx context.Context, tx store.Tx) error {
		c := storetest.Call(storetest.Allocation("acme", storetest.AllocationID(1), storetest.Virtual(1), nil, nil), storetest.CallID(1), storetest.Person(0))
		c.AnsweredAt = storetest.Start()
		_, err := tx.AnswerCall(ctx, c)
		_, kept := tx.KeepCallState(ctx, c, []byte("state"))
		return errors.Join(err, kept)
	})
	if with := content(t, from); !strings.Contains(with, "call_state [") {
		t.Fatal("no state of a call is there")
	}
	before := withoutStates(content(t, from))
	o := options(from, file)
	o.Backup = true
	i := 1000
	o.Progress = func(transfer.Progress) {
		i++
		if err := storetest.Create(t.Context(), from, storetest.Allocation("acme", storetest.AllocationID(i), storetest.Virtual(1), storetest.People(i), storetest.People(i+5000)), storetest.Start()); err != nil {
			t.Error(err)
		}
	}
	if _, err := transfer.Copy(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if content(t, file) != before || withoutStates(content(t, from)) == before {
		t.Error("it is not what there was when it began")
	}
	taken, err := transfer.Verify(t.Context(), file)
	if err != nil || !taken.Equal(storetest.Start()) {
		t.Errorf("taken at %v, %v", taken, err)
	}
	refused(t, transfer.Serves(t.Context(), file), "it is a backup")
	restored := open(t, filepath.Join(t.TempDir(), "restored.db"))
	if _, err := transfer.Copy(t.Context(), options(file, restored)); err != nil { // whose node seems to be alive
		t.Fatal(err)
	}
	if content(t, restored) != before {
		t.Error("what was restored is something else")
	}
	if err := transfer.Serves(t.Context(), restored); err != nil {
		t.Error(err)
	}
}

func TestABackupThatIsNotWhatWasWrittenIsRefused(t *testing.T) {
	t.Run("rows are missing", func(t *testing.T) {
		_, file := backedUp(t)
		change(t, file, func(ctx context.Context, tx store.Tx) error {
			tables, err := tx.Tables(ctx)
			for _, table := range tables {
				if table.Name == "claim" {
					_, err = tx.RemoveRows(ctx, table, 1)
				}
			}
			return err
		})
		_, err := transfer.Verify(t.Context(), file)
		refused(t, err, "table claim has")
	})
	t.Run("the audit log has another entry", func(t *testing.T) {
		_, file := backedUp(t)
		change(t, file, func(ctx context.Context, tx store.Tx) error {
			tables, err := tx.Tables(ctx)
			for _, table := range tables {
				if table.Name != "audit" {
					continue
				}
				rows, e := tx.Rows(ctx, table, nil, 10)
				_, removed := tx.RemoveRows(ctx, table, 10)
				for i, column := range table.Columns {
					if column == "actor" {
						rows[0][i] = "somebody"
					}
				}
				err = errors.Join(err, e, removed, tx.PutRows(ctx, table, rows))
			}
			return err
		})
		_, err := transfer.Verify(t.Context(), file)
		refused(t, err, "entry 1: it was changed")
	})
	t.Run("it is no backup", func(t *testing.T) {
		from, _ := databases(t)
		_, err := transfer.Verify(t.Context(), from)
		refused(t, err, "no finished backup")
	})
	t.Run("its file is damaged", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file.db")
		from, _ := databases(t)
		file := open(t, path)
		o := options(from, file)
		o.Backup = true
		if _, err := transfer.Copy(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := len(raw) / 2; at < len(raw)/2+4096; at++ {
			raw[at] ^= 0xff
		}
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
		if err == nil {
			defer func() { _ = again.Close() }()
			_, err = transfer.Verify(t.Context(), again)
		}
		if err == nil {
			t.Error("nothing was noticed")
		}
	})
}
