package cli_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"tandem/internal/masking"
)

// chained is an API whose audit log is made as it is read, so that its length
// costs no memory.
type chained struct {
	n       int64
	change  func(*masking.AuditEntry) // of what is shown
	cut     int64                     // entries at the end that are not shown
	last    masking.AuditEntry
	largest int // page
}

func (c *chained) entry(sequence int64, before [32]byte) masking.AuditEntry {
	return masking.AuditEntry{At: time.Unix(1_700_000_000+sequence, 0), Actor: "tok_1", Tenant: "acme", Action: "settings-change",
		Outcome: masking.OutcomeDone, Request: "req_" + strconv.FormatInt(sequence, 10)}.
		Following(masking.AuditHead{Sequence: sequence - 1, Hash: before})
}

func (c *chained) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/head") {
		var e masking.AuditEntry
		for i := range c.n {
			e = c.entry(i+1, e.Hash)
		}
		_, _ = fmt.Fprintf(w, `{"response":{"sequence":%d,"hash":"%x"}}`, c.n, e.Hash)
		return
	}
	after, _ := strconv.ParseInt(r.URL.Query().Get("cursor"), 10, 64)
	limit, _ := strconv.ParseInt(r.URL.Query().Get("limit"), 10, 64)
	if after == 0 {
		c.last = masking.AuditEntry{}
	}
	items := []map[string]any{}
	end := min(after+limit, c.n-c.cut)
	for i := after + 1; i <= end; i++ {
		c.last = c.entry(i, c.last.Hash)
		e := c.last
		if c.change != nil {
			c.change(&e)
		}
		items = append(items, map[string]any{"sequence": e.Sequence, "time": e.At.UTC().Format(time.RFC3339), "actor": e.Actor, "tenant_id": e.Tenant,
			"action": e.Action, "object": e.Object, "outcome": e.Outcome, "request_id": e.Request,
			"previous_hash": hex.EncodeToString(e.Previous[:]), "hash": hex.EncodeToString(e.Hash[:])})
	}
	c.largest = max(c.largest, len(items))
	next := ""
	if end < c.n-c.cut {
		next = strconv.FormatInt(end, 10)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"response": map[string]any{"items": items, "next_cursor": next}})
}

func verify(t *testing.T, c *chained, args ...string) (code int, out, errs string) {
	t.Helper()
	s := httptest.NewServer(c)
	defer s.Close()
	return run(t.Context(), append([]string{"audit", "verify", "--admin-token", "x", "--server", s.URL}, args...)...)
}

func TestAuditVerifyPrintsTheHeadOfALogThatIsWhole(t *testing.T) {
	c := &chained{n: 100_000}
	code, out, errs := verify(t, c)
	want := fmt.Sprintf("100000 %x\n", c.last.Hash)
	if code != 0 || out != want || errs != "" || c.largest != 100 {
		t.Errorf("exit code %d, stdout %q, want %q, stderr %q; %d entries at once", code, out, want, errs, c.largest)
	}
}

func TestAuditVerifyNamesTheFirstPlaceThatIsBroken(t *testing.T) {
	for name, c := range map[string]struct {
		log  chained
		args []string
		want string
	}{
		"changed":  {log: chained{n: 250, change: at(117, func(e *masking.AuditEntry) { e.Outcome = "x" })}, want: "entry 117: it was changed"},
		"rehashed": {log: chained{n: 250, change: at(117, func(e *masking.AuditEntry) { e.Outcome = "x"; e.Hash = e.Sum() })}, want: "entry 118: it does not follow the entry before it"},
		"removed":  {log: chained{n: 250, change: from(117, func(e *masking.AuditEntry) { e.Sequence++ })}, want: "entry 117: it is missing; the next one is 118"},
		"cut":      {log: chained{n: 250, cut: 7}, want: "entry 244: it is missing; the log ends before its head, entry 250"},
		"another":  {log: chained{n: 250}, args: []string{"--head", strings.Repeat("ab", 32)}, want: "entry 250: no entry up to here has the hash that was kept"},
	} {
		code, out, errs := verify(t, &c.log, c.args...)
		if code != 1 || out != "" || !strings.HasPrefix(errs, "tandem: the audit log is broken: "+c.want) {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", name, code, out, errs)
		}
	}
}

func at(sequence int64, change func(*masking.AuditEntry)) func(*masking.AuditEntry) {
	return func(e *masking.AuditEntry) {
		if e.Sequence == sequence {
			change(e)
		}
	}
}

func from(sequence int64, change func(*masking.AuditEntry)) func(*masking.AuditEntry) {
	return func(e *masking.AuditEntry) {
		if e.Sequence >= sequence {
			change(e)
		}
	}
}

func TestAuditVerifyFindsAKeptHeadInALogThatHasGrown(t *testing.T) {
	_, before, _ := verify(t, &chained{n: 120})
	head := strings.Fields(before)[1]
	if code, _, errs := verify(t, &chained{n: 260}, "--head", head); code != 0 {
		t.Errorf("exit code %d, stderr %q", code, errs)
	}
	if code, _, _ := verify(t, &chained{n: 119}, "--head", head); code != 1 {
		t.Errorf("a log that was cut with its head: exit code %d", code)
	}
	if code, _, _ := verify(t, &chained{n: 1}, "--head", "zz"); code != 2 {
		t.Errorf("a head that is none: exit code %d", code)
	}
	if code, out, _ := verify(t, &chained{}); code != 0 || out != "0 "+strings.Repeat("0", 64)+"\n" {
		t.Errorf("an empty log: exit code %d, stdout %q", code, out)
	}
}
