package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/storetest"
)

const (
	crashChildEnv = "TANDEM_TEST_CRASH_CHILD" // path of the database; set in the child alone
	crashFirstEnv = "TANDEM_TEST_CRASH_FIRST" // index of the child's first allocation
	crashWorkers  = 8
	crashStride   = 100_000 // indices a round may use
)

// crashChild creates and deletes allocations until it is killed, and tells
// each acknowledged change on its standard output: "+ id" or "- id".
//
// Worker w has the exclusive number 100+w to itself, which it takes and gives
// up in turn, and creates on the shared number 2 in between.
func crashChild(path string) {
	first, err := strconv.Atoi(os.Getenv(crashFirstEnv))
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	s, err := Open(ctx, Options{Path: path})
	if err != nil {
		panic(err)
	}
	var mu sync.Mutex
	tell := func(what string, id masking.AllocationID) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf("%s %s\n", what, id)
	}
	var wg sync.WaitGroup
	for w := range crashWorkers {
		wg.Go(func() {
			for i := first + w; ; i += 2 * crashWorkers {
				exclusive := crashAllocation(i, 100+w)
				shared := crashAllocation(i+crashWorkers, 2)
				if err := storetest.Create(ctx, s, exclusive, storetest.Start()); err != nil {
					panic(err)
				}
				tell("+", exclusive.ID)
				if err := storetest.Create(ctx, s, shared, storetest.Start()); err != nil {
					panic(err)
				}
				tell("+", shared.ID)
				if err := storetest.Delete(ctx, s, "acme", exclusive.ID, storetest.Start()); err != nil {
					panic(err)
				}
				tell("-", exclusive.ID)
			}
		})
	}
	wg.Wait()
}

func crashAllocation(i, virtual int) masking.Allocation {
	a := benchAllocation(i)
	a.VirtualNumber = storetest.Virtual(virtual)
	return a
}

func TestAfterKill9EveryAcknowledgedChangeIsThereAndNoClaimIsHalf(t *testing.T) {
	const rounds = 12
	path := filepath.Join(t.TempDir(), "tandem.db")
	s := withPool(t, Options{Path: path})
	for w := range crashWorkers {
		n := storetest.Number("acme", storetest.Virtual(100+w), masking.Exclusive)
		if err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error { return tx.InsertNumber(ctx, n, storetest.Start()) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	told := map[masking.AllocationID]string{}
	for round := range rounds {
		lines := killedChild(t, path, round*crashStride, 1+rand.IntN(400))
		for _, line := range lines {
			what, id, ok := strings.Cut(line, " ")
			if !ok {
				t.Fatalf("the child said %q", line)
			}
			told[masking.AllocationID(id)] = what
		}
		s := openTemp(t, Options{Path: path})
		checkAfterCrash(t, s, told)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(told) < rounds {
		t.Errorf("only %d allocations were acknowledged in %d rounds", len(told), rounds)
	}
}

// killedChild runs a child on the database, kills it when it has told of
// enough changes, and gives all that it told.
func killedChild(t *testing.T, path string, first, enough int) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), self)
	child.Env = append(os.Environ(), crashChildEnv+"="+path, crashFirstEnv+"="+strconv.Itoa(first))
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints strings.Builder
	child.Stderr = &complaints
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for in := bufio.NewScanner(out); in.Scan(); {
		lines = append(lines, in.Text())
		if len(lines) == enough {
			if err := child.Process.Kill(); err != nil { // SIGKILL
				t.Fatal(err)
			}
		}
	}
	err = child.Wait()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != -1 || len(lines) < enough {
		t.Fatalf("the child ended by itself after %d lines: %v\n%s", len(lines), err, complaints.String())
	}
	return lines
}

// checkAfterCrash compares the tables with what was told, and the claims, the
// parties and the events with the allocations. Then it deletes what is active
// on the exclusive numbers, for the next child.
func checkAfterCrash(t *testing.T, s *Store, told map[masking.AllocationID]string) {
	t.Helper()
	claims, parties, events := s.rowsByAllocation(t, "claim", "virtual_number || ' ' || caller"),
		s.rowsByAllocation(t, "party", "number"), s.rowsByAllocation(t, "event", "type")
	err := s.View(t.Context(), func(ctx context.Context, tx store.Reader) error {
		all, err := tx.Allocations(ctx, store.AllocationFilter{Tenant: "acme", Product: masking.GreenVN})
		if err != nil {
			return err
		}
		for _, a := range all {
			n, err := tx.Number(ctx, "acme", a.VirtualNumber)
			if err != nil {
				return err
			}
			var want, wantParties []string
			if a.EndedAt.IsZero() {
				for _, c := range a.Claims(n.Sharing) {
					want = append(want, c.VirtualNumber.E164()+" "+c.Caller)
				}
			}
			for _, p := range a.Parties() {
				wantParties = append(wantParties, p.E164())
			}
			if !slices.Equal(claims[a.ID], want) {
				t.Errorf("%s, ended %v, has %d claims, want %d", a.ID, !a.EndedAt.IsZero(), len(claims[a.ID]), len(want))
			}
			if !slices.Equal(parties[a.ID], wantParties) || len(events[a.ID]) != 1 {
				t.Errorf("%s has %d parties and %d events", a.ID, len(parties[a.ID]), len(events[a.ID]))
			}
			if told[a.ID] == "-" && a.EndedAt.IsZero() {
				t.Errorf("the acknowledged delete of %s is lost", a.ID)
			}
			delete(claims, a.ID)
			delete(parties, a.ID)
		}
		for id := range told {
			if !slices.ContainsFunc(all, func(a masking.Allocation) bool { return a.ID == id }) {
				t.Errorf("the acknowledged %s is lost", id)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(claims)+len(parties) > 0 {
		t.Errorf("claims or parties of no allocation: %d, %d", len(claims), len(parties))
	}
	for w := range crashWorkers {
		s.deleteActive(t, storetest.Virtual(100+w).E164())
	}
}

// rowsByAllocation are the values of a column, sorted, by allocation.
func (s *Store) rowsByAllocation(t *testing.T, table, column string) map[masking.AllocationID][]string {
	t.Helper()
	rows, err := s.sessions[0].conn.QueryContext(t.Context(), `SELECT allocation, `+column+` FROM `+table+` ORDER BY 1, 2`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	out := map[masking.AllocationID][]string{}
	for rows.Next() {
		var id masking.AllocationID
		var value string
		if err := rows.Scan(&id, &value); err != nil {
			t.Fatal(err)
		}
		out[id] = append(out[id], value)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// deleteActive ends what is active on a number.
func (s *Store) deleteActive(t *testing.T, number string) {
	t.Helper()
	var id masking.AllocationID
	err := s.sessions[0].conn.QueryRowContext(t.Context(),
		`SELECT COALESCE(MAX(id), '') FROM allocation WHERE virtual_number = ? AND ended_at = 0`, number).Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	if id == "" {
		return
	}
	if err := storetest.Delete(t.Context(), s, "acme", id, storetest.Start()); err != nil {
		t.Fatal(err)
	}
}
