package storetest

import (
	"context"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

func nodeTests() []test {
	return []test{
		{"ANodeIsReadAsWritten", nodeRoundTrip},
		{"ANodeThatStartsTakesThePlaceOfTheRunItFoundAndOfNoOther", nodeJoins},
		{"ASignOfLifeIsThatOfItsOwnRun", nodeBeats},
		{"ANodeIsHeardForAsLongAsItIsNeitherGoneNorBack", nodeHeard},
		{"OnlyASilentNodeIsLost", nodeLost},
		{"OfTheCallsOfANodeThatAreUpThoseThatBeganFirstAreGivenFirst", openCallsInOrder},
		{"NodesOfLongAgoAreForgottenOnceTheirCallsAreClosed", nodesForgotten},
	}
}

func node(id string) masking.Node {
	return masking.Node{ID: id, StartedAt: Start(), SeenAt: Start().Add(time.Second), Version: "v1", Folder: "boot:1:2",
		Addresses: []string{"http://127.0.0.1:8080", "udp://127.0.0.1:5060"}, Calls: 7, Draining: true}
}

func (b *bench) nodes() []masking.Node {
	b.Helper()
	return get(b, func(ctx context.Context, tx store.Reader) ([]masking.Node, error) { return tx.Nodes(ctx) })
}

// whether runs a change of a node, which must give want.
func (b *bench) whether(want bool, change func(ctx context.Context, tx store.Tx) (bool, error)) {
	b.Helper()
	var did bool
	b.update(func(ctx context.Context, tx store.Tx) (err error) {
		did, err = change(ctx, tx)
		return err
	})
	if did != want {
		b.Fatalf("changed %v, want %v", did, want)
	}
}

func (b *bench) join(want bool, n, last masking.Node) {
	b.Helper()
	b.whether(want, func(ctx context.Context, tx store.Tx) (bool, error) { return tx.JoinNode(ctx, n, last) })
}

func (b *bench) beat(want bool, n masking.Node) {
	b.Helper()
	b.whether(want, func(ctx context.Context, tx store.Tx) (bool, error) {
		ours, back, err := tx.BeatNode(ctx, n)
		if back {
			b.Errorf("others have found %s silent", n.ID)
		}
		return ours, err
	})
}

func (b *bench) lose(want bool, n masking.Node, at time.Time) {
	b.Helper()
	b.whether(want, func(ctx context.Context, tx store.Tx) (bool, error) { return tx.LoseNode(ctx, n, at) })
}

func nodeRoundTrip(b *bench) {
	second, first := node("b"), node("a")
	first.Addresses, first.Draining, first.GoneAt = nil, false, Start().Add(time.Minute)
	b.join(true, second, masking.Node{})
	b.join(true, first, masking.Node{})
	got := b.nodes()
	if len(got) == 2 && len(got[0].Addresses) == 0 {
		got[0].Addresses = nil
	}
	equal(b, got, []masking.Node{first, second})
}

func nodeJoins(b *bench) {
	old := node("a")
	b.join(true, old, masking.Node{})
	next := old
	next.StartedAt, next.SeenAt, next.Folder, next.Calls = Start().Add(time.Hour), Start().Add(time.Hour), "boot:1:3", 0
	b.join(false, next, masking.Node{}) // found none
	found := old
	old.SeenAt = old.SeenAt.Add(time.Second)
	b.beat(true, old)
	b.join(false, next, found)
	b.join(true, next, old)
	equal(b, b.nodes(), []masking.Node{next})
}

func nodeBeats(b *bench) {
	n := node("a")
	b.beat(false, n)
	b.join(true, n, masking.Node{})
	b.lose(true, n, Start().Add(time.Minute))
	n.SeenAt, n.Calls, n.Draining, n.Version, n.Addresses = Start().Add(time.Hour), 9, false, "v2", []string{"http://127.0.0.1:1"}
	b.update(func(ctx context.Context, tx store.Tx) error {
		ours, back, err := tx.BeatNode(ctx, n)
		if !ours || !back {
			b.Errorf("ours %v, back %v", ours, back)
		}
		return err
	})
	b.beat(true, n)
	equal(b, b.nodes(), []masking.Node{n}) // and gone no more
	other := n
	other.StartedAt = Start().Add(time.Millisecond)
	b.beat(false, other)
	equal(b, b.nodes(), []masking.Node{n})
}

func nodeHeard(b *bench) {
	hear := func(want bool, n masking.Node, at time.Time) {
		b.Helper()
		b.whether(want, func(ctx context.Context, tx store.Tx) (bool, error) { return tx.HearNode(ctx, n, at) })
	}
	n := node("a")
	hear(false, n, Start())
	b.join(true, n, masking.Node{})
	b.join(true, node("b"), masking.Node{})
	found, at := n, n.SeenAt.Add(2*time.Second)
	hear(true, n, at)
	hear(false, found, at.Add(time.Second)) // another one was first
	n.SeenAt = at
	equal(b, b.nodes(), []masking.Node{n, node("b")})
	next := n
	next.StartedAt = n.StartedAt.Add(time.Second)
	hear(false, next, at.Add(time.Second)) // of another run
	b.lose(false, found, at)
	b.beat(true, n) // as if nothing had been
	b.lose(true, n, at)
	hear(false, n, at.Add(time.Second))
}

func nodeLost(b *bench) {
	n := node("a")
	b.join(true, n, masking.Node{})
	b.join(true, node("b"), masking.Node{})
	found := n
	n.SeenAt = n.SeenAt.Add(time.Second)
	b.beat(true, n)
	b.lose(false, found, Start())
	gone := n
	gone.GoneAt, gone.Calls = Start().Add(time.Minute), 0
	b.lose(true, n, gone.GoneAt)
	b.lose(true, n, gone.GoneAt.Add(time.Hour)) // again, and it is gone since before
	equal(b, b.nodes(), []masking.Node{gone, node("b")})
}

func nodesForgotten(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(2), People(1), People(2)), Start())
	_, ended := b.talks(a, 1)
	carries, idle, recent := node(ended.Node), node("old"), node("recent")
	recent.SeenAt = Start().Add(time.Hour)
	for _, n := range []masking.Node{carries, idle, recent} {
		b.join(true, n, masking.Node{})
	}
	forget := func(want int) {
		b.Helper()
		b.update(func(ctx context.Context, tx store.Tx) error {
			n, err := tx.ForgetNodes(ctx, Start().Add(time.Minute), 10)
			if err == nil && n != want {
				b.Errorf("%d were forgotten, want %d", n, want)
			}
			return err
		})
	}
	forget(1)
	equal(b, b.nodes(), []masking.Node{carries, recent})
	if did, err := b.report(store.Tx.EndCall, ended); err != nil || !did {
		b.Fatalf("the end: %v, %v", did, err)
	}
	forget(1)
	forget(0)
	equal(b, b.nodes(), []masking.Node{recent})
}

func openCallsInOrder(b *bench) {
	b.acme()
	b.tenant("other")
	for i, began := range []int{3, 0, 2, 2, 1} {
		c := masking.Call{ID: CallID(i), Tenant: "acme", VirtualNumber: Virtual(2), Caller: Person(1), Node: "node-1",
			StartedAt: Start().Add(time.Duration(began) * time.Second)}
		if i == 1 { // the first of all, of a tenant who comes last
			c.Tenant = "other"
		}
		if _, err := b.report(store.Tx.BeginCall, c); err != nil {
			b.Fatal(err)
		}
	}
	first := func(limit int) (ids []masking.CallID) {
		for _, c := range get(b, func(ctx context.Context, tx store.Reader) ([]masking.Call, error) {
			return tx.OpenCalls(ctx, "node-1", limit)
		}) {
			ids = append(ids, c.ID)
		}
		return ids
	}
	all := []masking.CallID{CallID(1), CallID(4), CallID(2), CallID(3), CallID(0)}
	equal(b, first(0), all)
	equal(b, first(3), all[:3])
	equal(b, first(9), all)
}
