package app

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/storetest"
	"tandem/internal/testkit/postgres"
	"tandem/internal/upkeep"
)

// cluster gives the folders of nodes on one PostgreSQL, with one master key, and the
// address of their database.
func cluster(t *testing.T, nodes int) (dirs []string, database string) {
	t.Helper()
	s := postgres.Start(t)
	for range nodes {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, masterFile), []byte(strings.Repeat("ab", 32)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, dir)
	}
	return dirs, "TANDEM_DATABASE_URL=" + s.URL(s.Database(t, ""))
}

func nodesOf(t *testing.T, a *App) (nodes []masking.Node) {
	t.Helper()
	err := a.store.View(t.Context(), func(ctx context.Context, tx store.Reader) (err error) {
		nodes, err = tx.Nodes(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return nodes
}

func TestASecondProcessWithTheIdOfALivingNodeIsRefused(t *testing.T) {
	dirs, database := cluster(t, 2)
	first := start(t, options(t, dirs[0], database))
	id := []byte(first.node + "\n")
	if err := os.WriteFile(filepath.Join(dirs[1], nodeFile), id, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), options(t, dirs[1], database))
	if err == nil || !strings.Contains(err.Error(), "another process is running as "+first.node) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error: %v", err)
	}
	nodes := nodesOf(t, first)
	if len(nodes) != 1 || !nodes[0].Alive(first.o.Clock()) || len(nodes[0].Addresses) != 3 || nodes[0].Version != "test" {
		t.Errorf("nodes %+v", nodes)
	}
}

func TestANodeWithAnotherMasterKeyOrNoneIsRefused(t *testing.T) {
	dirs, database := cluster(t, 3)
	first := start(t, options(t, dirs[0], database))
	key := filepath.Join(dirs[1], masterFile)
	if err := os.WriteFile(key, []byte(strings.Repeat("cd", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), options(t, dirs[1], database))
	if err == nil || !strings.Contains(err.Error(), key+" is not the key") {
		t.Errorf("another key: %v", err)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first try leaves no key behind
		_, err = Start(t.Context(), options(t, dirs[1], database))
		if err == nil || !strings.Contains(err.Error(), key+" is not there") {
			t.Errorf("no key: %v", err)
		}
	}
	start(t, options(t, dirs[2], database))
	if nodes := nodesOf(t, first); len(nodes) != 2 {
		t.Errorf("nodes %+v", nodes)
	}
}

func TestANodeThatStopsIsGoneAndStartsAgainAtOnce(t *testing.T) {
	dir := t.TempDir()
	a, err := Start(t.Context(), options(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	first := nodesOf(t, a)
	stop(t, a)
	a = start(t, options(t, dir))
	again := nodesOf(t, a)
	if len(first) != 1 || len(again) != 1 || first[0].ID != again[0].ID || !again[0].GoneAt.IsZero() || !again[0].StartedAt.After(first[0].StartedAt) {
		t.Errorf("before %+v\nafter %+v", first, again)
	}
}

// die ends an App as kill -9 does, as far as the others can see: it gives no more
// signs of life, answers nobody, and says nothing of its calls. What else it had open is
// closed afterwards.
func die(t *testing.T, a *App) {
	t.Helper()
	fallSilent(t, a)
	if err := a.agent.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// fallSilent ends what an App does with the database from time to time, its signs of
// life too. It takes and carries calls as ever.
func fallSilent(t *testing.T, a *App) {
	t.Helper()
	a.keeper.Stop()
	t.Cleanup(func() { stop(t, a) })
}

// talking writes a call of a node that has been answered and is recorded.
func talking(t *testing.T, a *App, node string) masking.Call {
	t.Helper()
	c := was(t, a, node)
	err := a.store.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		_, err := tx.KeepCallState(ctx, c, []byte("state"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ends are the terminal events of a call's tenant.
func ends(t *testing.T, a *App, c masking.Call) (n int) {
	t.Helper()
	err := a.store.View(t.Context(), func(ctx context.Context, tx store.Reader) error {
		events, err := tx.Events(ctx, store.EventFilter{Tenant: c.Tenant, Limit: 100})
		for _, e := range events {
			if e.Call == c.ID && e.Type == masking.EventCallCompleted {
				n++
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// until waits for what no event tells of.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// recordOf is what is written of a call.
func recordOf(t *testing.T, a *App, c masking.Call) (r masking.Call) {
	t.Helper()
	err := a.store.View(t.Context(), func(ctx context.Context, tx store.Reader) (err error) {
		r, err = tx.Call(ctx, c.Tenant, c.ID)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sight is a node as all see it.
func sight(t *testing.T, a *App, id string) masking.Node {
	t.Helper()
	for _, n := range nodesOf(t, a) {
		if n.ID == id {
			return n
		}
	}
	t.Fatalf("%s is not known", id)
	return masking.Node{}
}

// closedBy waits until the call has an end.
func closedBy(t *testing.T, a *App, c masking.Call) (r masking.Call) {
	t.Helper()
	until(t, "the end of the call", func() bool {
		r = recordOf(t, a, c)
		return !r.EndedAt.IsZero()
	})
	return r
}

func TestTheCallsOfADeadNodeAreClosedOnceByTheOthers(t *testing.T) {
	t.Parallel() // it waits for a lease
	dirs, database := cluster(t, 3)
	var apps []*App
	for _, dir := range dirs {
		a, err := Start(t.Context(), options(t, dir, database))
		if err != nil {
			t.Fatal(err)
		}
		apps = append(apps, a)
	}
	dead, others := apps[0], apps[1:]
	t.Cleanup(func() { stop(t, others[0]) })
	t.Cleanup(func() { stop(t, others[1]) })
	c := talking(t, dead, dead.node)
	died := time.Now()
	die(t, dead)
	r := closedBy(t, others[0], c)
	t.Logf("closed after %v", time.Since(died).Round(100*time.Millisecond))
	if r.Cause != masking.CauseNodeLost || r.TalkTime > r.EndedAt.Sub(r.AnsweredAt) {
		t.Errorf("the record says %s, talked %v", r.Cause, r.TalkTime)
	}
	nodes := nodesOf(t, others[0])
	for _, n := range nodes {
		if alive := n.Alive(time.Now()); alive == (n.ID == dead.node) {
			t.Errorf("%s is alive: %v", n.ID, alive)
		}
	}
	// It was only slow: it goes on with the call, and ends it.
	c.EndedAt, c.Cause = time.Now(), masking.CauseCallerHungUp
	dead.journal.Note(masking.Answered, c, time.UTC)
	dead.journal.Note(masking.Ended, c, time.UTC)
	if err := dead.journal.Close(t.Context()); err != nil { // once all is written
		t.Fatal(err)
	}
	if again := closedBy(t, others[0], c); again.Cause != masking.CauseNodeLost || !again.EndedAt.Equal(r.EndedAt) {
		t.Errorf("the record says %s now", again.Cause)
	}
	if n := ends(t, others[0], c); n != 1 {
		t.Errorf("%d events tell of the end", n)
	}
	if left, err := dead.journal.Left(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("it would go on with %d calls: %v", len(left), err)
	}
	if back, err := dead.presence.Beat(t.Context(), nil, 0, false); err != nil || !back { // and it is back
		t.Error(back, err)
	}
	for _, n := range nodesOf(t, others[0]) {
		if !n.Alive(time.Now()) {
			t.Errorf("%s is not alive", n.ID)
		}
	}
}

func TestNodesKnowWhereTheOthersTakeSIP(t *testing.T) {
	apps := startAll(t, 2)
	t.Cleanup(func() { stop(t, apps[1]) })
	for i, a := range apps {
		if _, err := a.meet(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		list, other := a.agent.Fellows(), apps[1-i]
		if len(list) != 1 || "udp://"+list[0].Addr.String() != other.addrs.SIP[0] {
			t.Errorf("knows %+v, want %v", list, other.addrs.SIP)
		}
	}
	gone := apps[0].Addrs().SIP[0]
	stop(t, apps[0])
	if _, err := apps[1].meet(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if list := apps[1].agent.Fellows(); len(list) != 1 || "udp://"+list[0].Addr.String() != gone {
		t.Errorf("knows %+v when the other has just gone", list)
	}
	for _, c := range []struct {
		addresses string
		want      string
	}{
		{"http://192.0.2.1:8080 tcp://192.0.2.1:5060 udp://192.0.2.1:5062", "udp 192.0.2.1:5062"},
		{"http://192.0.2.1:8080 tls://192.0.2.1:5061 tcp://[2001:db8::1]:5060", "tcp [2001:db8::1]:5060"},
		{"http://192.0.2.1:8080 udp://0.0.0.0:5060 tls://192.0.2.1:5061", ""},
	} {
		got := ""
		if to, ok := takesSIP(masking.Node{Addresses: strings.Fields(c.addresses)}); ok {
			got = to.Network + " " + to.Addr.String()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.addresses, got, c.want)
		}
	}
}

func TestANodeOfWhichTheDatabaseHearsNothingIsAskedBeforeItsCallsAreTaken(t *testing.T) {
	t.Parallel() // it waits for more than a lease
	apps := startAll(t, 3)
	silent, others := apps[0], apps[1:]
	for _, a := range others {
		t.Cleanup(func() { stop(t, a) })
	}
	for _, a := range apps { // a node that has just started knows nobody yet
		if _, err := a.meet(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	}
	c := talking(t, silent, silent.node)
	own := sight(t, others[0], silent.node)
	fallSilent(t, silent)
	until(t, "the others to have heard it for longer than two leases", func() bool {
		return sight(t, others[0], silent.node).SeenAt.Sub(own.SeenAt) > 2*masking.Lease
	})
	n := sight(t, others[1], silent.node)
	if !n.GoneAt.IsZero() || !n.Alive(time.Now()) || len(n.Addresses) != len(own.Addresses) {
		t.Errorf("the others take it for %+v", n)
	}
	if r := recordOf(t, others[0], c); !r.EndedAt.IsZero() || r.Node != silent.node {
		t.Errorf("its call has ended with %s, or is %s's", r.Cause, r.Node)
	}
	for _, a := range others { // all know where its dialogs are
		if len(a.agent.Fellows()) != 2 {
			t.Errorf("a node knows %d others", len(a.agent.Fellows()))
		}
	}
	last := n.SeenAt
	if err := silent.agent.Close(t.Context()); err != nil { // it dies
		t.Fatal(err)
	}
	if r := closedBy(t, others[0], c); r.Cause != masking.CauseNodeLost || r.AnsweredAt.Add(r.TalkTime).Before(last) {
		t.Errorf("the record says %s, talked for %v from %v on; it was last heard at %v", r.Cause, r.TalkTime, r.AnsweredAt, last)
	}
	if n := ends(t, others[0], c); n != 1 {
		t.Errorf("%d events tell of the end", n)
	}
}

func TestANodeIsGoneWhenItHasStoppedThoughAnotherHasHeardIt(t *testing.T) {
	apps := startAll(t, 2)
	a, other := apps[0], apps[1]
	t.Cleanup(func() { stop(t, other) })
	a.keeper.Stop()
	if heard, err := other.presence.Hear(t.Context(), sight(t, other, a.node)); err != nil || !heard {
		t.Fatal(heard, err)
	}
	stop(t, a)
	if n := sight(t, other, a.node); n.GoneAt.IsZero() {
		t.Errorf("it is there: %+v", n)
	}
}

func TestAServerWhoseDatabaseIsBeingFilledTakesNoRequestAndNoCallAnyMore(t *testing.T) {
	a := start(t, options(t, t.TempDir()))
	ask := func(url string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		token, _ := a.AdminToken()
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	tenants, ready := "http://"+a.Addrs().HTTP+"/v1/admin/tenants", "http://"+a.Addrs().Ops+"/readyz"
	if one, other := ask(tenants), ask(ready); one != http.StatusOK || other != http.StatusOK {
		t.Fatalf("before: %d, %d", one, other)
	}
	err := a.store.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		return tx.SetFact(ctx, store.FactState, `{"kind":"copying"}`) // as a restoration does that has not seen this server
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.beat(t.Context(), 1); !errors.Is(err, upkeep.ErrOver) && !errors.Is(err, store.ErrShut) { // the heartbeat was first
		t.Errorf("a sign of life: %v", err)
	}
	if one, other := ask(tenants), ask(ready); one != http.StatusServiceUnavailable || other != http.StatusServiceUnavailable {
		t.Errorf("the API answers %d, readyz %d", one, other)
	}
	if _, _, err := a.director.Route(t.Context(), masking.Ask{Called: storetest.Virtual(1), Caller: storetest.Person(1)}); !errors.Is(err, store.ErrShut) {
		t.Errorf("a call: %v", err)
	}
}
