package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"tandem/internal/config"
	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/sqlstore"
	"tandem/internal/store/storetest"
	"tandem/internal/testkit/postgres"
	"tandem/internal/transfer"
)

// place is a database on either engine, with a data folder.
func place(t *testing.T, url string) config.Config {
	t.Helper()
	flags := map[string]string{"data-dir": t.TempDir()}
	if url != "" {
		flags["database-url"] = url
	}
	c, err := config.Load(config.Sources{Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func quietly() TransferOptions { return TransferOptions{Log: slog.New(slog.DiscardHandler)} }

// with opens a database as a server does.
func with(t *testing.T, c config.Config, use func(store.Store)) {
	t.Helper()
	s, err := openEngine(t.Context(), c, quietly().Log, sqlstore.Opening{})
	if err != nil {
		t.Fatal(err)
	}
	use(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// everything is all rows of all tables, and where events go on.
func everything(t *testing.T, c config.Config) (text string) {
	t.Helper()
	with(t, c, func(s store.Store) {
		var all strings.Builder
		err := s.View(t.Context(), func(ctx context.Context, tx store.Reader) error {
			tables, err := tx.Tables(ctx)
			if err != nil {
				return err
			}
			for _, table := range tables {
				rows, err := tx.Rows(ctx, table, nil, 1000)
				if err != nil {
					return err
				}
				fmt.Fprintf(&all, "%s %v %q\n", table.Name, table.Columns, rows)
			}
			head, err := tx.EventHead(ctx)
			fmt.Fprintf(&all, "events %d", head)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		text = all.String()
	})
	return text
}

// goesOn uses a database as a server does.
func goesOn(t *testing.T, c config.Config) {
	t.Helper()
	with(t, c, func(s store.Store) {
		a := storetest.Allocation("acme", storetest.AllocationID(700), storetest.Virtual(1), storetest.People(701), storetest.People(702))
		if err := storetest.Create(t.Context(), s, a, storetest.Start()); err != nil {
			t.Fatal(err)
		}
		err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			return tx.AppendAudit(ctx, masking.AuditEntry{At: storetest.Start(), Actor: masking.Operator, Action: "x", Outcome: masking.OutcomeDone})
		})
		if err != nil {
			t.Fatal(err)
		}
		err = s.View(t.Context(), func(ctx context.Context, tx store.Reader) error {
			last, err := tx.Events(ctx, store.EventFilter{Tenant: "acme", After: 5000, Limit: 10})
			if err == nil && (len(last) != 1 || last[0].Cursor != 5001 || last[0].Allocation != a.ID) {
				err = fmt.Errorf("the event after the copy: %+v", last)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestADatabaseIsTheSameAfterItWentToPostgreSQLAndBack(t *testing.T) {
	server := postgres.Start(t)
	ours, theirs, back := place(t, ""), place(t, server.URL(server.Database(t, ""))), place(t, "")
	with(t, ours, func(s store.Store) {
		storetest.Fill(t, s, 150)
		err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error { return tx.SetEventHead(ctx, 5000) })
		if err != nil {
			t.Fatal(err)
		}
	})
	before := everything(t, ours)
	for _, pair := range [][2]config.Config{{ours, theirs}, {theirs, back}} {
		if _, err := Copy(t.Context(), pair[0], pair[1], quietly()); err != nil {
			t.Fatal(err)
		}
		if got := everything(t, pair[1]); got != before {
			t.Errorf("got\n%s\nwant\n%s", got, before)
		}
	}
	if _, err := Copy(t.Context(), theirs, theirs, quietly()); err == nil {
		t.Error("copied onto itself")
	}

	file := filepath.Join(t.TempDir(), "backup.db")
	with(t, theirs, func(store.Store) { // while a server has it open
		if _, err := Backup(t.Context(), theirs, file, quietly()); err != nil {
			t.Fatal(err)
		}
	})
	restored := place(t, server.URL(server.Database(t, "")))
	if _, _, err := Restore(t.Context(), restored, file, quietly()); err != nil {
		t.Fatal(err)
	}
	if got := everything(t, restored); got != before {
		t.Errorf("restored\n%s\nwant\n%s", got, before)
	}
	for _, c := range []config.Config{theirs, back, restored} {
		goesOn(t, c)
	}
	if _, _, err := Restore(t.Context(), restored, file, quietly()); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("restored over what was there: %v", err)
	}
	replacing := quietly()
	replacing.Replace = true
	if _, _, err := Restore(t.Context(), restored, file, replacing); err != nil || everything(t, restored) != before {
		t.Errorf("replaced: %v", err)
	}
}

func TestABackupIsThereOnceItIsCompleteAndOverwritesNothing(t *testing.T) {
	c := place(t, "")
	with(t, c, func(s store.Store) { storetest.Fill(t, s, 50) })
	file := filepath.Join(t.TempDir(), "backup.db")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	o := quietly()
	o.Progress = func(p transfer.Progress) {
		if p.Table == "party" {
			stop()
		}
	}
	if _, err := Backup(ctx, c, file, o); err == nil {
		t.Fatal("made though it was stopped")
	}
	left, err := filepath.Glob(file + "*")
	if err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
	if _, err := Backup(t.Context(), c, file, quietly()); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(file + "?*"); err != nil || len(left) > 0 {
		t.Errorf("it is not all in its file: %q, %v", left, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := Backup(t.Context(), c, file, quietly()); err == nil || !strings.Contains(err.Error(), "there already") {
		t.Errorf("overwritten: %v", err)
	}
	readOnly := filepath.Join(t.TempDir(), "shelf")
	if err := os.MkdirAll(readOnly, 0o700); err != nil {
		t.Fatal(err)
	}
	shelved := filepath.Join(readOnly, "backup.db")
	if err := os.Rename(file, shelved); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(shelved)
	if err != nil {
		t.Fatal(err)
	}
	again := place(t, "")
	if _, _, err := Restore(t.Context(), again, shelved, quietly()); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(shelved); err != nil || string(after) != string(before) || everything(t, again) != everything(t, c) {
		t.Errorf("the backup was changed, or what came of it is something else: %v", err)
	}
	if beside, err := fs.Glob(os.DirFS(readOnly), "*"); err != nil || len(beside) != 1 {
		t.Errorf("beside it: %q, %v", beside, err)
	}
}

// writers make allocations, each its own, until stopped, but no more than a backup under
// the race detector gets done with; acknowledged gives what is durable by now.
func writers(t *testing.T, s store.Store) (acknowledged func() []masking.AllocationID, stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		made []masking.AllocationID
	)
	for w := range 4 {
		wg.Go(func() {
			for i := 1000 * (w + 1); ctx.Err() == nil && i < 1000*(w+1)+250; i++ {
				a := storetest.Allocation("acme", storetest.AllocationID(i), storetest.Virtual(1), storetest.People(2*i), storetest.People(2*i+1))
				if err := storetest.Create(t.Context(), s, a, storetest.Start()); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				made = append(made, a.ID)
				mu.Unlock()
			}
		})
	}
	return func() []masking.AllocationID {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(made)
	}, func() { cancel(); wg.Wait() }
}

func TestABackupOfAPostgreSQLThatIsWrittenToHasAllThatWasAcknowledgedBefore(t *testing.T) {
	server := postgres.Start(t)
	c, restored := place(t, server.URL(server.Database(t, ""))), place(t, server.URL(server.Database(t, "")))
	file := func(i int) string { return filepath.Join(filepath.Dir(c.DataDir), fmt.Sprintf("backup-%d.db", i)) }
	const backups = 5
	var before []masking.AllocationID
	with(t, c, func(s store.Store) {
		storetest.Fill(t, s, 1)
		acknowledged, stop := writers(t, s)
		defer stop()
		for i := range backups {
			before = acknowledged()
			if _, err := Backup(t.Context(), c, file(i), quietly()); err != nil {
				t.Fatal(err)
			}
		}
	})
	if _, _, err := Restore(t.Context(), restored, file(backups-1), quietly()); err != nil {
		t.Fatal(err)
	}
	told := map[masking.AllocationID]bool{}
	with(t, restored, func(s store.Store) {
		err := s.View(t.Context(), func(ctx context.Context, tx store.Reader) error {
			for after := int64(0); ; {
				page, err := tx.Events(ctx, store.EventFilter{Tenant: "acme", After: after, Limit: 1000})
				if err != nil || len(page) == 0 {
					return err
				}
				for _, e := range page {
					if told[e.Allocation] || e.Cursor != after+1 {
						t.Errorf("event %d, after %d, tells of %s again or has another's place", e.Cursor, after, e.Allocation)
					}
					told[e.Allocation], after = true, e.Cursor
					if _, err := tx.Allocation(ctx, "acme", e.Allocation); err != nil {
						t.Errorf("allocation %s, which an event tells of: %v", e.Allocation, err)
					}
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	for _, id := range before {
		if !told[id] {
			t.Errorf("allocation %s was acknowledged before the backup and is not in it", id)
		}
	}
	if len(before) < backups {
		t.Errorf("only %d allocations were made", len(before))
	}
}

func TestACopyOfABackupThatIsNotWhatWasWrittenIsRefused(t *testing.T) {
	c := place(t, "")
	with(t, c, func(s store.Store) { storetest.Fill(t, s, 20) })
	file := filepath.Join(t.TempDir(), "backup.db")
	if _, err := Backup(t.Context(), c, file, quietly()); err != nil {
		t.Fatal(err)
	}
	backup, err := config.Load(config.Sources{Flags: map[string]string{"database-url": "sqlite:" + file}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(t.Context(), backup, place(t, ""), quietly()); err != nil {
		t.Fatal(err)
	}
	with(t, backup, func(s store.Store) {
		err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			tables, err := tx.Tables(ctx)
			if err != nil {
				return err
			}
			_, err = tx.RemoveRows(ctx, tables[slices.IndexFunc(tables, func(t store.Table) bool { return t.Name == "claim" })], 1)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	if _, err := Copy(t.Context(), backup, place(t, ""), quietly()); err == nil || !strings.Contains(err.Error(), "source: it is not what was backed up: table claim") {
		t.Errorf("copied what is not whole: %v", err)
	}
}

func TestOfBackupsThatAreMadeAtOnceNoneTakesAnothersPlace(t *testing.T) {
	c := place(t, "")
	with(t, c, func(s store.Store) { storetest.Fill(t, s, 50) })
	file := filepath.Join(t.TempDir(), "backup.db")
	o := quietly()
	var second error
	once := false
	o.Progress = func(transfer.Progress) { // while the first one is made
		if !once {
			once = true
			_, second = Backup(t.Context(), c, file, quietly())
		}
	}
	_, first := Backup(t.Context(), c, file, o)
	if second != nil || first == nil || !strings.Contains(first.Error(), "there already") {
		t.Errorf("the one that was finished first: %v, the other: %v", second, first)
	}
	if left, err := filepath.Glob(file + "*"); err != nil || len(left) != 1 {
		t.Errorf("left: %q, %v", left, err)
	}
	if _, _, err := Restore(t.Context(), place(t, ""), file, quietly()); err != nil {
		t.Errorf("what is there is no backup: %v", err)
	}
}

func TestAFolderThatAServerHoldsIsNotCopiedIntoNorMigratedDown(t *testing.T) {
	from, to := place(t, ""), place(t, "")
	with(t, from, func(s store.Store) { storetest.Fill(t, s, 1) })
	with(t, to, func(store.Store) {})
	held, err := lockFolder(to.DataDir) // as a server does whose first sign of life is still to come
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(t.Context(), from, to, quietly()); err == nil || !strings.Contains(err.Error(), "in use by another tandem") {
		t.Errorf("copied: %v", err)
	}
	if _, err := MigrateDown(t.Context(), to, slog.New(slog.DiscardHandler), 23); err == nil || !strings.Contains(err.Error(), "in use by another tandem") {
		t.Errorf("migrated down: %v", err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(t.Context(), from, to, quietly()); err != nil {
		t.Error(err)
	}
}

func TestADamagedBackupOrNoneIsRefusedByItsNameAndNothingIsChanged(t *testing.T) {
	from, to := place(t, ""), place(t, "")
	with(t, from, func(s store.Store) { storetest.Fill(t, s, 50) })
	file := filepath.Join(t.TempDir(), "backup.db")
	if _, err := Backup(t.Context(), from, file, quietly()); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	broken := slices.Clone(whole)
	for i := 4096; i < len(broken); i++ {
		broken[i] ^= 0x5a
	}
	for name, bytes := range map[string][]byte{"damaged": broken, "something else": []byte(strings.Repeat("no database at all ", 500))} {
		path := filepath.Join(t.TempDir(), "b.db")
		if err := os.WriteFile(path, bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := Restore(t.Context(), to, path, quietly())
		if err == nil || err.Error() != path+" is damaged, or no backup: take another one; nothing was changed" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(to.SQLitePath()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the target: %v", err)
	}
}
