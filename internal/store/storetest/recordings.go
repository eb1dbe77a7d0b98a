package storetest

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

func recordingTests() []test {
	return []test{
		{"ARecordingIsReadAsWrittenAndOnlyByItsTenant", recordingRoundTrip},
		{"ARecordingBeginsOnce", recordingBegins},
		{"ARecordingEndsOnceHoweverOftenItIsTold", recordingEnds},
		{"AnUpdateWritesStatusDeletionHoldAndKeyAlone", recordingUpdate},
		{"ALegalHoldOfARunningRecordingOutlivesItsEnd", recordingHeld},
		{"StoredAreThoseThatRetentionMayRemove", recordingsStored},
		{"DeletedOnesWithSoundAreThoseThatHaveAKey", recordingsWithSound},
		{"RunningAreThoseOfTheNodesEndedCalls", recordingsRunning},
		{"OfManyKeysTheFirstIsKept", recordingKeys},
		{"ADeletedTenantLeavesNoKeyRecordingAnnouncementOrCount", tenantLeavesNothing},
	}
}

// recording is that of acme's i-th call, just begun.
func recording(i int) masking.Recording {
	return masking.Recording{Call: CallID(i), Tenant: "acme", Allocation: AllocationID(i), VirtualNumber: Virtual(1),
		Status: masking.RecordingRunning, StartedAt: Start().Add(time.Duration(i) * time.Minute), Key: fmt.Sprintf("acme/%d", i)}
}

// stored is the same when its file is in the blob store.
func stored(g masking.Recording) masking.Recording {
	g.Status, g.StoredAt, g.Key = masking.RecordingStored, g.StartedAt.Add(time.Hour), g.Key+".stored"
	g.Duration, g.Size, g.Peaks = 61*time.Second+234*time.Millisecond, 1<<40, []byte{0, 1, 255, 0}
	g.Truncated, g.Dropped = true, 7
	return g
}

func (b *bench) begin(g masking.Recording) {
	b.Helper()
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.BeginRecording(ctx, g) })
}

// end ends a recording and tells whether that changed it.
func (b *bench) end(g masking.Recording) (changed bool, err error) {
	err = b.Update(b.Context(), func(ctx context.Context, tx store.Tx) (err error) {
		changed, err = tx.EndRecording(ctx, g)
		return err
	})
	return changed, err
}

func (b *bench) recording(i int) masking.Recording {
	b.Helper()
	return get(b, func(ctx context.Context, tx store.Reader) (masking.Recording, error) {
		return tx.Recording(ctx, "acme", CallID(i))
	})
}

func recordingRoundTrip(b *bench) {
	b.acme()
	b.tenant("other")
	full := stored(recording(2))
	full.Node = "node-2"
	full.DeletedAt, full.Reason, full.Held = Start().Add(time.Hour), "disk_full", true
	full.Peaks = bytes.Repeat([]byte{0, 7, 255}, 3000)
	for i, g := range map[int]masking.Recording{1: recording(1), 2: full} {
		b.begin(g)
		equal(b, b.recording(i), g)
		b.code(masking.CodeNotFound, getErr(b, func(ctx context.Context, tx store.Reader) (masking.Recording, error) {
			return tx.Recording(ctx, "other", CallID(i))
		}))
	}
	b.code(masking.CodeNotFound, getErr(b, func(ctx context.Context, tx store.Reader) (masking.Recording, error) {
		return tx.Recording(ctx, "acme", CallID(9))
	}))
	lost := recording(3)
	lost.Tenant = "nobody"
	b.refused(masking.CodeNotFound, func(ctx context.Context, tx store.Tx) error { return tx.BeginRecording(ctx, lost) })
}

func recordingBegins(b *bench) {
	b.acme()
	b.begin(recording(1))
	ended := stored(recording(1))
	if changed, err := b.end(ended); err != nil || !changed {
		b.Fatal(changed, err)
	}
	b.begin(recording(1)) // told again, late
	equal(b, b.recording(1), ended)
}

func recordingEnds(b *bench) {
	b.acme()
	b.tenant("other")
	for i := 1; i <= 2; i++ {
		b.begin(recording(i))
	}
	ended, failed := stored(recording(1)), recording(2)
	failed.Status, failed.StoredAt, failed.Reason = masking.RecordingFailed, Start().Add(time.Minute), "disk_full"
	for i, g := range map[int]masking.Recording{1: ended, 2: failed} {
		var did atomic.Int64
		for _, err := range together(8, func(int) error {
			changed, err := b.end(g)
			if changed {
				did.Add(1)
			}
			return err
		}) {
			if err != nil {
				b.Fatal(err)
			}
		}
		equal(b, did.Load(), 1)
		equal(b, b.recording(i), g)
	}
	other := failed
	other.Call = CallID(1)
	if changed, err := b.end(other); err != nil || changed {
		b.Fatal(changed, err)
	}
	equal(b, b.recording(1), ended)
	// A recording of which nothing was written, or another tenant's.
	_, err := b.end(stored(recording(3)))
	b.code(masking.CodeNotFound, err)
	foreign := ended
	foreign.Tenant = "other"
	_, err = b.end(foreign)
	b.code(masking.CodeNotFound, err)
}

func recordingUpdate(b *bench) {
	b.acme()
	b.tenant("other")
	want := stored(recording(1))
	b.begin(want)
	changed := recording(9)
	changed.Call, changed.Status, changed.DeletedAt, changed.Held = want.Call, masking.RecordingDeleted, Start().Add(48*time.Hour), true
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.UpdateRecording(ctx, changed) })
	want.Status, want.DeletedAt, want.Held, want.Key = changed.Status, changed.DeletedAt, true, changed.Key
	equal(b, b.recording(1), want)
	for _, g := range []masking.Recording{{Call: want.Call, Tenant: "other"}, {Call: CallID(7), Tenant: "acme"}} {
		g.Status = masking.RecordingStored
		b.refused(masking.CodeNotFound, func(ctx context.Context, tx store.Tx) error { return tx.UpdateRecording(ctx, g) })
	}
	equal(b, b.recording(1), want)
}

func recordingHeld(b *bench) {
	b.acme()
	g := recording(1)
	b.begin(g)
	g.Held = true
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.UpdateRecording(ctx, g) })
	if changed, err := b.end(stored(recording(1))); err != nil || !changed { // by one who knows of no hold
		b.Fatal(changed, err)
	}
	want := stored(recording(1))
	want.Held = true
	equal(b, b.recording(1), want)
}

func recordingsStored(b *bench) {
	b.acme()
	b.tenant("other")
	foreign := stored(recording(20))
	foreign.Tenant = "other"
	b.begin(foreign)
	for i, status := range []masking.RecordingStatus{"stored", "stored", "recording", "failed", "deleted", "stored", "stored", "stored"} {
		g := recording(i)
		g.Status, g.Held = status, i == 5
		if i == 7 { // begun with the sixth
			g.StartedAt = recording(6).StartedAt
		}
		b.begin(g)
	}
	list := func(tenant masking.TenantID, before time.Time, limit int) (text string) {
		b.Helper()
		for _, g := range get(b, func(ctx context.Context, tx store.Reader) ([]masking.Recording, error) {
			return tx.StoredBefore(ctx, tenant, before, limit)
		}) {
			for i := range 30 {
				if g.Call == CallID(i) {
					text += fmt.Sprint(i, " ")
				}
			}
		}
		return text
	}
	last := recording(6).StartedAt
	equal(b, list("acme", last.Add(time.Millisecond), 0), "0 1 6 7 ")
	equal(b, list("acme", last, 0), "0 1 ")
	equal(b, list("acme", last.Add(time.Hour), 3), "0 1 6 ")
	equal(b, list("other", last.Add(time.Hour), 3), "20 ")
	equal(b, list("nobody", last.Add(time.Hour), 3), "")
	gone := b.recording(0)
	gone.Status = masking.RecordingDeleted
	free := b.recording(5)
	free.Held = false
	for _, g := range []masking.Recording{gone, free} {
		b.update(func(ctx context.Context, tx store.Tx) error { return tx.UpdateRecording(ctx, g) })
	}
	equal(b, list("acme", last.Add(time.Hour), 2), "1 5 ")
}

func recordingsWithSound(b *bench) {
	b.acme()
	b.tenant("other")
	for i, status := range []masking.RecordingStatus{"deleted", "stored", "deleted", "failed", "recording", "deleted"} {
		g := stored(recording(i))
		if g.Status = status; status == masking.RecordingDeleted {
			g.DeletedAt = Start().Add(time.Duration(10-i) * time.Hour)
		}
		if i == 5 {
			g.Tenant = "other"
		}
		b.begin(g)
	}
	list := func(limit int) (text string) {
		b.Helper()
		for _, g := range get(b, func(ctx context.Context, tx store.Reader) ([]masking.Recording, error) {
			return tx.DeletedWithSound(ctx, limit)
		}) {
			text += string(g.Tenant) + " " + g.Key + " "
		}
		return text
	}
	equal(b, list(10), "other acme/5.stored acme acme/2.stored acme acme/0.stored ") // the first deleted first
	equal(b, list(2), "other acme/5.stored acme acme/2.stored ")
	gone := b.recording(2)
	gone.Key = ""
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.UpdateRecording(ctx, gone) })
	equal(b, list(10), "other acme/5.stored acme acme/0.stored ")
}

func recordingsRunning(b *bench) {
	b.acme()
	for i, c := range []struct {
		node   string
		ended  bool
		status masking.RecordingStatus
	}{{"node-1", true, masking.RecordingRunning}, {"node-1", false, masking.RecordingRunning},
		{"node-2", true, masking.RecordingRunning}, {"node-1", true, masking.RecordingStored}} {
		call := Call(Allocation("acme", "", Virtual(1), nil, nil), CallID(i), Person(1))
		call.Node = c.node
		if c.ended {
			call.EndedAt, call.Cause = Start(), masking.CauseNodeLost
		}
		if _, err := b.report(store.Tx.BeginCall, call); err != nil {
			b.Fatal(err)
		}
		g := recording(i)
		g.Status = c.status
		b.begin(g)
	}
	of := func(node string) []masking.Recording {
		return get(b, func(ctx context.Context, tx store.Reader) ([]masking.Recording, error) {
			return tx.RunningRecordings(ctx, node)
		})
	}
	equal(b, of("node-1"), []masking.Recording{recording(0), recording(1)})
	equal(b, of("node-2"), []masking.Recording{recording(2)})
	equal(b, len(of("node-3")), 0)
	late := recording(4) // by the time it was written its call was another node's
	late.Node = "node-3"
	call := Call(Allocation("acme", "", Virtual(1), nil, nil), late.Call, Person(1))
	call.Node = "node-2"
	if _, err := b.report(store.Tx.BeginCall, call); err != nil {
		b.Fatal(err)
	}
	b.begin(late)
	equal(b, of("node-2"), []masking.Recording{recording(2)})
	equal(b, of("node-3"), []masking.Recording{late})
}

func recordingKeys(b *bench) {
	b.acme()
	b.tenant("other")
	read := func(tenant masking.TenantID) func(context.Context, store.Reader) ([]byte, error) {
		return func(ctx context.Context, tx store.Reader) ([]byte, error) { return tx.RecordingKey(ctx, tenant) }
	}
	b.code(masking.CodeNotFound, getErr(b, read("acme")))
	kept := make([][]byte, 16)
	for _, err := range together(len(kept), func(i int) error {
		return b.Update(b.Context(), func(ctx context.Context, tx store.Tx) (err error) {
			kept[i], err = tx.InsertRecordingKey(ctx, "acme", []byte{0, byte(i), 0}, Start())
			return err
		})
	}) {
		if err != nil {
			b.Fatal(err)
		}
	}
	for _, key := range kept {
		equal(b, key, kept[0])
	}
	equal(b, get(b, read("acme")), kept[0])
	b.code(masking.CodeNotFound, getErr(b, read("other")))
	b.refused(masking.CodeNotFound, func(ctx context.Context, tx store.Tx) error {
		_, err := tx.InsertRecordingKey(ctx, "nobody", []byte{1}, Start())
		return err
	})
}

func tenantLeavesNothing(b *bench) {
	b.acme()
	a := b.created(byPIN(1, 2, "4821", People(1), People(2)), Start())
	b.tenant("other")
	b.number("other", 3, masking.Shared)
	kept := Prompt("other", "en", "enter-pin")
	b.update(func(ctx context.Context, tx store.Tx) error {
		for _, err := range []error{
			tx.BeginRecording(ctx, recording(1)), tx.PutPrompt(ctx, Prompt("acme", "en", "enter-pin")), tx.PutPrompt(ctx, kept),
			tx.CountWrong(ctx, []masking.TriesOf{party(a, Person(1)), stranger(3, Person(1))}, Start()),
		} {
			if err != nil {
				return err
			}
		}
		_, err := tx.InsertRecordingKey(ctx, "acme", []byte{1, 2, 3}, Start())
		return err
	})
	b.update(func(ctx context.Context, tx store.Tx) error {
		for _, i := range []int{1, 2} {
			if err := tx.DeleteNumber(ctx, "acme", Virtual(i), a.ExpiresAt); err != nil {
				return err
			}
		}
		// A call that was up counts one more.
		if err := tx.CountWrong(ctx, []masking.TriesOf{party(a, Person(1))}, a.ExpiresAt); err != nil {
			return err
		}
		return tx.DeleteTenant(ctx, "acme")
	})
	b.acme() // the same names again find nothing of the old
	b.created(a, Start())
	for name, err := range map[string]error{
		"the recording": getErr(b, func(ctx context.Context, tx store.Reader) (masking.Recording, error) {
			return tx.Recording(ctx, "acme", CallID(1))
		}),
		"the key": getErr(b, func(ctx context.Context, tx store.Reader) ([]byte, error) { return tx.RecordingKey(ctx, "acme") }),
		"the prompt": getErr(b, func(ctx context.Context, tx store.Reader) (store.Prompt, error) {
			return tx.Prompt(ctx, "acme", "en", "enter-pin")
		}),
	} {
		if err := hasCode(err, masking.CodeNotFound); err != nil {
			b.Errorf("%s: %v", name, err)
		}
	}
	counts, _ := b.tries(2, Person(1), Start())
	equal(b, counts[a.ID].Wrong, 0)
	_, other := b.tries(3, Person(1), Start())
	equal(b, other.Wrong, 1)
	equal(b, b.prompts(""), []store.Prompt{listed(kept)})
}
