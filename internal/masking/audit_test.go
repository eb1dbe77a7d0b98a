package masking

import (
	"encoding/hex"
	"errors"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"
)

// auditLog writes n entries.
func auditLog(n int) []AuditEntry {
	log, head := make([]AuditEntry, n), AuditHead{}
	for i := range log {
		log[i] = AuditEntry{At: time.Unix(1_700_000_000+int64(i), 999), Actor: Operator, Tenant: "acme", Action: "admin-tokens-create",
			Object: "tok_" + strconv.Itoa(i), Outcome: OutcomeDone, Request: "req_1"}.Following(head)
		head = log[i].Head()
	}
	return log
}

// firstBreak checks a log whose head is said to be head, having kept a hash.
func firstBreak(log []AuditEntry, head AuditHead, kept [32]byte) int64 {
	var c AuditCheck
	c.Expect(kept)
	var broken *AuditBreak
	for _, e := range log {
		if errors.As(c.Next(e), &broken) {
			return broken.Sequence
		}
	}
	if errors.As(c.End(head), &broken) {
		return broken.Sequence
	}
	return 0
}

func TestAnEntryHashesToWhatTheDecisionRecordSays(t *testing.T) {
	e := AuditEntry{At: time.Unix(1_700_000_000, 0), Actor: Operator, Tenant: "acme", Action: "admin-tenants-create",
		Object: "acme", Outcome: OutcomeDone, Request: "req_1"}.Following(AuditHead{})
	// By another program, of the encoding as docs/adr/0024-audit-log.md has it.
	const want = "b60174f4af956216eaa91f5bc239c1a9eca8d98747cea16f38c78da8f3dded9e"
	if got := hex.EncodeToString(e.Hash[:]); got != want {
		t.Errorf("hash %s, want %s", got, want)
	}
}

func TestEveryTamperedEntryOfALogIsFound(t *testing.T) {
	const n = 9
	whole := auditLog(n)
	head := whole[n-1].Head()
	if at := firstBreak(whole, head, whole[4].Hash); at != 0 {
		t.Fatalf("a whole log breaks at %d", at)
	}
	if at := firstBreak(nil, AuditHead{}, [32]byte{}); at != 0 {
		t.Errorf("an empty log breaks at %d", at)
	}
	for i := range n {
		place := int64(i + 1)
		for name, change := range map[string]func(*AuditEntry){
			"time":    func(e *AuditEntry) { e.At = e.At.Add(time.Second) },
			"actor":   func(e *AuditEntry) { e.Actor = "tok_9" },
			"tenant":  func(e *AuditEntry) { e.Tenant = "" },
			"action":  func(e *AuditEntry) { e.Action, e.Object = e.Action+"x", e.Object[1:] },
			"object":  func(e *AuditEntry) { e.Object = "" },
			"outcome": func(e *AuditEntry) { e.Outcome = "recording_held" },
			"request": func(e *AuditEntry) { e.Request += "0" },
			"hash":    func(e *AuditEntry) { e.Hash[31] ^= 1 },
			"before":  func(e *AuditEntry) { e.Previous[0] ^= 1 },
		} {
			log := slices.Clone(whole)
			change(&log[i])
			if at := firstBreak(log, head, [32]byte{}); at != place {
				t.Errorf("a changed %s of entry %d is found at %d", name, place, at)
			}
		}
		if at := firstBreak(slices.Delete(slices.Clone(whole), i, i+1), head, [32]byte{}); at != place {
			t.Errorf("entry %d, removed, is found at %d", place, at)
		}
		if at := firstBreak(slices.Insert(slices.Clone(whole), i, whole[(i+3)%n]), head, [32]byte{}); at != place {
			t.Errorf("an entry put in at %d is found at %d", place, at)
		}
		made := AuditEntry{Actor: Operator}.Following(AuditHead{place - 1, whole[max(0, i-1)].Hash})
		if at := firstBreak(slices.Insert(slices.Clone(whole), i, made), head, [32]byte{}); at < place || at > place+1 {
			t.Errorf("a new entry put in at %d is found at %d", place, at)
		}
		if i > 0 {
			log := slices.Clone(whole)
			log[i-1], log[i] = log[i], log[i-1]
			if at := firstBreak(log, head, [32]byte{}); at != place-1 {
				t.Errorf("entries %d and %d, swapped, are found at %d", place-1, place, at)
			}
		}
		if at := firstBreak(whole[:i], head, [32]byte{}); at != place {
			t.Errorf("a log cut before %d is found at %d", place, at)
		}
	}
}

// Whoever can write the database can write every hash anew, and the head. Then
// only a hash that he does not have tells.
func TestALogThatWasWrittenAnewIsFoundByAHashKeptElsewhere(t *testing.T) {
	log := auditLog(9)
	kept := log[6].Hash
	forged := slices.Clone(log)
	forged[3].Object = "tok_another"
	for i := 3; i < len(forged); i++ {
		forged[i] = forged[i].Following(forged[i-1].Head())
	}
	if at := firstBreak(forged, forged[8].Head(), [32]byte{}); at != 0 {
		t.Errorf("it breaks at %d by itself", at)
	}
	if at := firstBreak(forged, forged[8].Head(), kept); at != 9 {
		t.Errorf("with the kept hash it is found at %d", at)
	}
	if at := firstBreak(log[:6], log[5].Head(), kept); at != 6 {
		t.Errorf("cut with its head it is found at %d", at)
	}
	if at := firstBreak(log, log[8].Head(), kept); at != 0 {
		t.Errorf("the whole log breaks at %d", at)
	}
}

func TestALongLogIsCheckedInTheSpaceOfOneEntry(t *testing.T) {
	var c AuditCheck
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	e := AuditEntry{At: time.Unix(1_700_000_000, 0), Actor: Operator, Action: "admin-tokens-create"}
	for range 100_000 {
		e = e.Following(c.Last())
		if err := c.Next(e); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("%d bytes are held after it", grown)
	}
	if c.Last().Sequence != 100_000 || c.End(c.Last()) != nil {
		t.Errorf("at %d", c.Last().Sequence)
	}
}
