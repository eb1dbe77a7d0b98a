package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/internal/client"
	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/sqlite"
)

// erased is what a person has left behind: enough to keep an erasure busy for seconds.
type erased struct {
	person, other     e164.Number
	calls, recordings int
	allocations       int
}

// leave writes what he has left, into the database and the folder of recordings of a
// server that is not running. Of two rows one is about somebody else.
func (e erased) leave(s *site) {
	s.t.Helper()
	db, err := sqlite.Open(s.ctx, sqlite.Options{Path: filepath.Join(s.dir, "tandem.db"), Synchronous: sqlite.Normal})
	s.must(err)
	defer func() { s.must(db.Close()) }()
	began := time.Now().Add(-48 * time.Hour).UTC().Truncate(time.Millisecond)
	for from := 0; from < 2*e.calls; from += 500 {
		s.must(db.Update(s.ctx, func(ctx context.Context, tx store.Tx) error {
			for i := from; i < from+500; i++ {
				if err := e.row(ctx, tx, s, i, began.Add(time.Duration(i)*time.Second)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
}

// row writes the i-th call with its event, for some a recording, for some an allocation.
func (e erased) row(ctx context.Context, tx store.Tx, s *site, i int, at time.Time) error {
	caller, callee := e.person, e.other
	if i%2 == 1 {
		caller = e164.MustParse(fmt.Sprintf("+9188%08d", i))
	}
	var random [10]byte
	random[0], random[1], random[2] = byte(i>>16), byte(i>>8), byte(i)
	id := masking.CallID(masking.NewID(masking.PrefixCall, at, random))
	c := masking.Call{ID: id, Tenant: "acme", VirtualNumber: e164.MustParse("+914000000001"), Caller: caller, Direction: masking.FromCalls,
		Node: "n", StartedAt: at, CustomField: "for " + caller.E164()}
	if i < 2*e.allocations {
		a := masking.Allocation{ID: masking.AllocationID(masking.NewID(masking.PrefixAllocation, at, random)), Tenant: "acme", VirtualNumber: c.VirtualNumber,
			From: []e164.Number{caller}, To: []e164.Number{callee}, Usage: masking.TwoWay, CreatedAt: at, UpdatedAt: at, ExpiresAt: at.Add(time.Hour),
			EndedAt: at.Add(time.Minute), EndReason: masking.EndedByAPI}
		if err := tx.InsertAllocation(ctx, a); err != nil {
			return err
		}
		c.Allocation = a.ID
	}
	if _, err := tx.BeginCall(ctx, c); err != nil {
		return err
	}
	c.Callee, c.AnsweredAt = callee, at
	c.Attempts = []masking.Attempt{{Target: callee, Trunk: "t", Rang: true, Answered: true, Status: 200}}
	if i < 2*e.recordings {
		r := masking.Recording{Call: id, Tenant: "acme", VirtualNumber: c.VirtualNumber, Status: masking.RecordingRunning, StartedAt: at}
		if err := tx.BeginRecording(ctx, r); err != nil {
			return err
		}
		r.Status, r.StoredAt, r.Key, r.Size, r.Peaks = masking.RecordingStored, at, "acme/"+string(id), 4, []byte{1, 2}
		if _, err := tx.EndRecording(ctx, r); err != nil {
			return err
		}
		file := filepath.Join(s.dir, "recordings", filepath.FromSlash(r.Key))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("AGE "+string(id)), 0o600)); err != nil {
			return err
		}
	}
	c.EndedAt, c.TalkTime, c.Cause, c.Ladder = at.Add(time.Second), time.Second, masking.CauseCallerHungUp, []byte("ladder")
	if _, err := tx.EndCall(ctx, c); err != nil {
		return err
	}
	return tx.AppendEvent(ctx, masking.CallEvent(masking.EventID("evt_"+string(id)), masking.EventCallCompleted, c, time.UTC, at))
}

// erasureOutlivesKill erases a number that stands in thousands of rows and hundreds
// of recordings while the server is killed again and again.
func erasureOutlivesKill(t *testing.T, s *site) {
	e := erased{person: e164.MustParse("+919955500055"), other: e164.MustParse("+918800000002"), calls: 6000, recordings: 400, allocations: 1000}
	p := s.start()
	_, err := s.api.AddNumbers(s.ctx, "acme", []client.NewNumber{{Number: "+914000000001", Sharing: "shared"}})
	s.must(err)
	p.kill()
	e.leave(s)
	p = s.start()
	receipt, err := s.api.Erase(s.ctx, "acme", client.NewErasure{Number: e.person.E164()}, client.Key("erase"))
	s.must(err)
	inTheMiddle := 0
	var logs []string
	for range 8 {
		pass(time.Second + time.Duration(rand.IntN(900))*time.Millisecond) // upkeep begins after a second
		now, err := s.api.Erasure(s.ctx, "acme", receipt.ErasureID)
		s.must(err)
		if now.Status == "running" && now.Removed["allocations"] > 0 {
			inTheMiddle++
		}
		p.kill()
		logs = append(logs, p.out.String()+p.err.String())
		p = s.start()
	}
	s.wait("the receipt", func() bool {
		now, err := s.api.Erasure(s.ctx, "acme", receipt.ErasureID)
		s.must(err)
		receipt = now
		return now.Status == "done"
	})
	want := map[string]int{"allocations": e.allocations, "calls": e.calls, "events": e.calls, "ladders": e.calls, "recordings": e.recordings,
		"pin_tries": 0, "answers": 0}
	if !maps.Equal(receipt.Removed, want) || receipt.Waiting != 0 {
		t.Errorf("the receipt is %+v, want %v", receipt, want)
	}
	t.Logf("%d kills came in the middle", inTheMiddle)
	s.nowhere(e.person) // while the server is up
	s.othersStay(e)
	p.terminate()
	p.over()
	logs = append(logs, p.out.String()+p.err.String())
	s.nowhere(e.person)
	for _, l := range logs {
		if strings.Contains(l, e.person.Digits()) {
			t.Error("a log has the number")
		}
	}
}

// othersStay counts what is left: rows that lost the number, and all that was never his.
func (s *site) othersStay(e erased) {
	s.t.Helper()
	kept := map[bool]int{}
	for cursor := ""; ; {
		page, err := s.api.Calls(s.ctx, "acme", client.CallFilter{Page: client.Page{Limit: 100, Cursor: cursor}})
		s.must(err)
		for _, c := range page.Items {
			kept[c.From == "erased"]++
			if c.OnCallDuration != 1 || c.To != e.other.E164() {
				s.t.Fatalf("a call became %+v", c)
			}
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	if kept[true] != e.calls || kept[false] != e.calls {
		s.t.Errorf("of %d calls of his and %d of others %v are left", e.calls, e.calls, kept)
	}
	sounds, err := filepath.Glob(filepath.Join(s.dir, "recordings", "acme", "*"))
	s.must(err)
	if len(sounds) != e.recordings {
		s.t.Errorf("%d sounds are left, want the %d of others", len(sounds), e.recordings)
	}
}

// nowhere fails the test if the digits of the number stand in a file of the data
// folder: the database with its logs, the sounds, what is written beside them.
func (s *site) nowhere(n e164.Number) {
	s.t.Helper()
	files := 0
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		raw, err := os.ReadFile(path)
		if i := bytes.Index(raw, []byte(n.Digits())); i >= 0 || bytes.Contains([]byte(path), []byte(n.Digits())) {
			s.t.Errorf("%s has the number: %q", path, raw[max(0, i-40):min(len(raw), i+40)])
		}
		return err
	})
	s.must(err)
	if files < 4 {
		s.t.Errorf("only %d files were read", files)
	}
}
