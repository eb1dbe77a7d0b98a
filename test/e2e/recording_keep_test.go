package e2e

import (
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/app"
	"tandem/internal/voice/phone"
)

// blobs counts the files of the blob store in the data folder.
func (st *stage) blobs() (n int) {
	_ = filepath.WalkDir(filepath.Join(st.Dir, "recordings"), func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			n++
		}
		return nil
	})
	return n
}

// recordCall places a short recorded call and gives its id.
func (st *stage) recordCall() string {
	st.t.Helper()
	a, b := st.talk(alice, phone.Sine(440, 8000), phone.Sine(880, 8000))
	st.must(b.HearsTone(st.ctx, 440))
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	st.settle()
	return st.desk("acme").calls()[0]
}

func (st *stage) sweep() {
	st.t.Helper()
	_, err := st.App.SweepRecordings(st.ctx)
	st.must(err)
}

func TestARecordingIsKeptAsLongAsItsTenantSays(t *testing.T) {
	t.Parallel()
	var later atomic.Int64
	st := newStage(t, setting{edit: func(o *app.Options) {
		o.Clock = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	}})
	st.must(st.Do("acme", "PUT", "/v1/tenants/acme/settings", map[string]any{"recording_retention_days": 7}, nil))
	st.allocate(map[string]any{"record": true, "duration": 30 * 24 * 3600})
	held, other, removed := st.recordCall(), st.recordCall(), st.recordCall()
	d := st.desk("acme")
	for _, call := range []string{held, other, removed} {
		d.stored(call)
	}
	if got := d.ask("PUT", soundPath(held), `{"legal_hold":true}`); got.Status != 200 || !d.info(held).LegalHold {
		t.Fatalf("hold: %d %s", got.Status, got.Body)
	}
	if got := d.ask("DELETE", soundPath(held), ""); got.Status != 409 || got.code() != "recording_held" {
		t.Errorf("deleting what is held: %d %s", got.Status, got.Body)
	}
	for range 2 { // and again, as after an answer that was lost
		if got := d.ask("DELETE", soundPath(removed), ""); got.Status != 200 {
			t.Errorf("delete: %d %s", got.Status, got.Body)
		}
	}
	if got := d.ask("GET", soundPath(removed), ""); got.Status != 404 || d.info(removed).Status != "deleted" || st.blobs() != 2 {
		t.Errorf("after its deletion: %d, %s, %d sounds", got.Status, d.info(removed).Status, st.blobs())
	}
	later.Store(int64(7*24*time.Hour - time.Minute))
	st.sweep()
	d.stored(other)
	later.Store(int64(7*24*time.Hour + time.Minute))
	st.sweep()
	if got := d.ask("GET", soundPath(other), ""); got.Status != 404 || d.info(other).Status != "deleted" {
		t.Errorf("after its time: %d, %s", got.Status, d.info(other).Status)
	}
	d.stored(held)
	if st.blobs() != 1 {
		t.Errorf("%d sounds are left, want that which is held", st.blobs())
	}
	if got := d.ask("PUT", soundPath(held), `{"legal_hold":false}`); got.Status != 200 {
		t.Errorf("end of the hold: %d %s", got.Status, got.Body)
	}
	st.sweep()
	if got := d.ask("GET", soundPath(held), ""); got.Status != 404 || st.blobs() != 0 {
		t.Errorf("after the hold: %d, %d sounds", got.Status, st.blobs())
	}
}

func TestARecordingIsNobodyElsesBusiness(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	_, err := st.NewTenant("other", "exclusive", "+914000000009")
	st.must(err)
	st.allocate(recorded)
	call := st.recordCall()
	mine, theirs := st.desk("acme"), st.desk("other")
	mine.stored(call)
	for _, c := range []struct {
		who            desk
		tenant, method string
		status         int
	}{{theirs, "other", "GET", 404}, {theirs, "other", "DELETE", 404}, {theirs, "other", "PUT", 404},
		{theirs, "acme", "GET", 404}, {theirs, "acme", "DELETE", 404}, {theirs, "acme", "PUT", 404},
		{desk{t, st.ctx, mine.web, mine.url, mine.account, "wrong", "acme"}, "acme", "GET", 401}} {
		for _, path := range []string{soundPath(call), soundPath(call) + "/info"} {
			if c.method != "GET" && path != soundPath(call) {
				continue
			}
			got := c.who.of(c.tenant, c.method, path, `{"legal_hold":true}`)
			if got.Status != c.status {
				t.Errorf("%s of %s's %s: %d, want %d", c.method, c.tenant, path, got.Status, c.status)
			}
		}
	}
	mine.stored(call)
}

func TestARecordingThatRunsIsNotReady(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(recorded)
	a, b := st.talk(alice, phone.Sine(440, 8000), phone.Sine(880, 8000))
	st.must(b.HearsTone(st.ctx, 440))
	d := st.desk("acme")
	waitFor(t, st.ctx, func() bool { return len(d.calls()) == 1 }, "the record of the call")
	call := d.calls()[0]
	waitFor(t, st.ctx, func() bool { return d.ask("GET", soundPath(call)+"/info", "").Status == 200 }, "the record of the recording")
	if got := d.info(call); got.Status != "recording" || got.Peaks != nil {
		t.Errorf("while the call is up: %+v", got)
	}
	for _, method := range []string{"GET", "DELETE"} {
		if got := d.ask(method, soundPath(call), ""); got.Status != 409 || got.code() != "recording_not_ready" || got.Header.Get("Retry-After") == "" {
			t.Errorf("%s while the call is up: %d %s", method, got.Status, got.Body)
		}
	}
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	d.stored(call)
}

func TestACallThatEndsDuringTheNoticeIsNotRecorded(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.must(st.Do("acme", "PUT", "/v1/tenants/acme/settings", map[string]any{"recording_announcement": true}, nil))
	st.allocate(recorded)
	a, b := st.talk(alice, phone.Sine(440, 8000), phone.Sine(880, 8000))
	st.must(b.Hears(st.ctx, phone.Rate/5))
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	st.notRecorded(st.onlyCall())
}
