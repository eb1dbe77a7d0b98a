package e2e

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"tandem/internal/client"
	"tandem/internal/e164"
	"tandem/internal/store"
	"tandem/internal/store/postgres"
	server "tandem/internal/testkit/postgres"
)

var chaos = flag.Duration("chaos", 15*time.Second, "how long nodes are killed and connections cut under clients whose history is checked")

// TestTheHistoryOfClaimsIsThatOfOneStore lets clients create, move, change, end and look
// up allocations at three nodes, while nodes are killed and started again and their
// connections to the database are cut.
func TestTheHistoryOfClaimsIsThatOfOneStore(t *testing.T) {
	database := server.Start(t, "max_connections=300")
	name := database.Database(t, "")
	way := newCutter(t, fmt.Sprintf("127.0.0.1:%d", database.Port))
	c := newCluster(t, build(t), fmt.Sprintf("postgres://tandem@%s/%s?sslmode=disable", way.listener.Addr(), name), 3)
	crowd := c.connect(c.nodes[0].p)
	for _, n := range c.nodes[1:] {
		crowd.known(n.p)
	}
	direct, err := postgres.Open(t.Context(), postgres.Options{URL: database.URL(name)})
	c.must(err)
	defer func() { c.must(direct.Close()) }()
	h := &historians{cluster: c, direct: direct, begun: time.Now(), labels: map[string]int{}}
	stop := h.begin()
	kills, cuts := 0, 0
	for end := time.After(*chaos); ; {
		pass(time.Duration(50+rand.IntN(300)) * time.Millisecond)
		if rand.IntN(5) > 0 {
			cuts += way.cut(rand.Float64())
		} else {
			n := c.nodes[rand.IntN(len(c.nodes))]
			n.p.kill()
			n.start()
			kills++
		}
		select {
		case <-end:
			stop()
			t.Logf("%d nodes killed, %d connections cut", kills, cuts)
			h.check()
			return
		default:
		}
	}
}

// historians write down what clients ask and are told, a history for each epoch and
// group: a short one is checked fast.
type historians struct {
	*cluster
	direct store.Store
	begun  time.Time

	mu     sync.Mutex
	labels map[string]int // of allocations, by their ids
	all    []*chronicle
}

// chronicle is what becomes of one group of numbers and people.
type chronicle struct {
	*historians
	place int
	next  atomic.Int64 // label

	mu  sync.Mutex
	ids map[int]string // by label
	ops []porcupine.Operation
}

const (
	groupsAtOnce    = 3
	clientsOfAGroup = 5
	operations      = 150 // of a group, at the most
)

// begin lets the clients of all groups work until they are stopped.
func (h *historians) begin() (stop func()) {
	var all sync.WaitGroup
	var done atomic.Bool
	for range groupsAtOnce {
		all.Go(func() {
			for !done.Load() {
				g := h.open()
				var clients sync.WaitGroup
				for client := range clientsOfAGroup {
					clients.Go(func() {
						for range operations / clientsOfAGroup {
							if !g.act(client) {
								return
							}
						}
					})
				}
				clients.Wait()
			}
		})
	}
	return func() {
		done.Store(true)
		all.Wait()
	}
}

// open makes the numbers of another group.
func (h *historians) open() *chronicle {
	h.mu.Lock()
	g := &chronicle{historians: h, place: len(h.all), ids: map[int]string{}}
	h.all = append(h.all, g)
	h.mu.Unlock()
	var numbers []client.NewNumber
	for i := range groupNumbers {
		sharing := "shared"
		if i == groupNumbers-1 {
			sharing = "exclusive"
		}
		numbers = append(numbers, client.NewNumber{Number: g.number(i), Sharing: sharing})
	}
	for { // it is not what the history is about
		_, err := h.nodes[rand.IntN(len(h.nodes))].api.Load().AddNumbers(h.ctx, "acme", numbers)
		var problem *client.Error
		if err == nil || errors.As(err, &problem) && problem.Status == 409 || h.ctx.Err() != nil {
			return g
		}
		pass(20 * time.Millisecond)
	}
}

func (g *chronicle) number(i int) string { return fmt.Sprintf("+9140003%04d%d", g.place, i) }

func (g *chronicle) person(i int) string { return fmt.Sprintf("+9173%06d%02d", g.place, i) }

func (g *chronicle) names(p people) (names []string) {
	for i := range groupPeople {
		if p&(1<<i) != 0 {
			names = append(names, g.person(i))
		}
	}
	return names
}

// set is the people of those names; none for one that is nobody's here.
func (g *chronicle) set(names []string) (p people) {
	for _, name := range names {
		for i := range groupPeople {
			if g.person(i) == name {
				p |= 1 << i
			}
		}
	}
	return p
}

// act draws something to ask, asks it and writes it down. After a change without an answer
// a client has nothing more to do with the group: each such change may have happened at
// any time, and what many of them can come to takes too long to judge.
func (g *chronicle) act(client int) (goOn bool) {
	in := request{verb: []string{"create", "create", "create", "move", "parties", "delete", "get", "get", "route", "route"}[rand.IntN(10)]}
	in.number = rand.IntN(groupNumbers)
	switch in.verb {
	case "create", "parties":
		in.from = some(rand.IntN, 0)
		in.to = some(rand.IntN, in.from)
		in.oneway = in.verb == "create" && rand.IntN(2) == 0
	case "route":
		in.from = 1 << rand.IntN(groupPeople)
	}
	if in.verb == "create" {
		in.label = int(g.next.Add(1))
	} else if in.verb != "route" {
		if in.label = g.known(); in.label == 0 {
			return true
		}
	}
	return g.note(client, in)
}

// known is an allocation that somebody was told of, one of the last.
func (g *chronicle) known() (label int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	labels := make([]int, 0, len(g.ids))
	for label := range g.ids {
		labels = append(labels, label)
	}
	if len(labels) == 0 {
		return 0
	}
	slices.Sort(labels)
	labels = labels[max(0, len(labels)-3):]
	return labels[rand.IntN(len(labels))]
}

// note asks and writes down. Every other change has an Idempotency-Key, and is asked for
// at one node after the other until there is an answer; the others get none, if there
// is none, of which it tells.
func (g *chronicle) note(by int, in request) (answered bool) {
	var calls []client.Call
	reads := in.verb == "get" || in.verb == "route"
	if !reads && rand.IntN(2) == 0 {
		calls = append(calls, client.Key(fmt.Sprintf("%d-%d-%s-%d", g.place, in.label, in.verb, rand.Int64())))
	}
	op := porcupine.Operation{ClientId: by, Input: in, Call: int64(time.Since(g.begun))}
	for {
		out, err := g.ask(g.nodes[rand.IntN(len(g.nodes))], in, calls)
		op.Output, op.Return = out, int64(time.Since(g.begun))
		if err == nil {
			break
		}
		pass(10 * time.Millisecond)
		var network *net.OpError
		if reads || errors.As(err, &network) && network.Op == "dial" && len(calls) == 0 {
			return true // nobody heard it, or nothing has come of it
		}
		if len(calls) == 0 {
			op.Output, op.Return = reply{}, never
			break
		}
		if g.ctx.Err() != nil {
			return false
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ops = append(g.ops, op)
	return op.Return != never
}

// ask asks a node. An error says that there is no answer.
func (g *chronicle) ask(n *node, in request, calls []client.Call) (out reply, err error) {
	g.mu.Lock()
	id := g.ids[in.label]
	g.mu.Unlock()
	api := n.api.Load()
	var a client.Allocation
	switch in.verb {
	case "route":
		return g.route(api, in)
	case "create":
		usage := "twoway"
		if in.oneway {
			usage = "oneway"
		}
		a, err = api.CreateAllocation(g.ctx, "acme", client.NewAllocation{CallerIDNumber: g.number(in.number), From: g.names(in.from), To: g.names(in.to),
			Usage: usage, CustomField: strconv.Itoa(in.label)}, calls...)
		if err == nil {
			g.mu.Lock()
			g.ids[in.label] = a.GreenVNID
			g.mu.Unlock()
		}
	case "move":
		_, err = api.UpdateNumber(g.ctx, "acme", id, g.number(in.number), calls...)
	case "parties":
		_, err = api.UpdateParties(g.ctx, "acme", id, client.Parties{From: g.names(in.from), To: g.names(in.to)}, calls...)
	case "delete":
		_, err = api.DeleteAllocation(g.ctx, "acme", id, false, calls...)
	case "get":
		if a, err = api.Allocation(g.ctx, "acme", id); err == nil && a.Status == "active" {
			return reply{"done", mapped{label: in.label, number: g.index(a.VirtualNumber), from: g.set(a.From), to: g.set(a.To), oneway: a.Usage == "oneway"}}, nil
		} else if err == nil {
			return reply{told: "ended"}, nil
		}
	}
	return g.told(err)
}

// told makes an outcome of an answer. Without one, or with 503, anything may have
// happened.
func (g *chronicle) told(err error) (reply, error) {
	var problem *client.Error
	switch {
	case err == nil:
		return reply{told: "done"}, nil
	case !errors.As(err, &problem) || problem.Status == 503:
		return reply{}, err
	case problem.Status == 409 && problem.Code == "allocation_not_active":
		return reply{told: "ended"}, nil
	case problem.Status == 409:
		return reply{told: "conflict"}, nil
	}
	g.t.Errorf("a client was told %v", problem)
	return reply{}, err
}

func (g *chronicle) index(number string) int {
	for i := range groupNumbers {
		if g.number(i) == number {
			return i
		}
	}
	return -1
}

// route looks up whom a caller reaches: as the node explains it, or in the store as a
// call does.
func (g *chronicle) route(api *client.Client, in request) (reply, error) {
	caller := g.names(in.from)[0]
	id, targets := "", people(0)
	if rand.IntN(2) == 0 {
		x, err := api.ExplainRoute(g.ctx, "acme", client.RouteQuery{Caller: caller, VirtualNumber: g.number(in.number)})
		if err != nil {
			return g.told(err)
		}
		if x.Outcome == "ring" {
			id, targets = x.GreenVNID, g.set(x.Targets)
		}
	} else {
		r, err := g.direct.Route(g.ctx, e164.MustParse(g.number(in.number)), e164.MustParse(caller))
		if err != nil {
			g.t.Error(err) // nobody cuts this way to the database
			return reply{}, err
		}
		if len(r.Found) > 0 {
			found := r.Found[0]
			id, targets = string(found.ID), g.set(numbers(found.To))
			if g.set(numbers(found.From))&in.from == 0 {
				targets = g.set(numbers(found.From))
			}
		}
	}
	label, err := g.labelOf(api, id)
	return reply{"done", mapped{label: label, to: targets}}, err
}

func numbers(list []e164.Number) (texts []string) {
	for _, n := range list {
		texts = append(texts, n.E164())
	}
	return texts
}

// labelOf is the label of an allocation, which it carries in its custom field: the one
// who created it may not know its id.
func (g *chronicle) labelOf(api *client.Client, id string) (int, error) {
	if id == "" {
		return 0, nil
	}
	g.historians.mu.Lock()
	label, known := g.labels[id]
	g.historians.mu.Unlock()
	if known {
		return label, nil
	}
	a, err := api.Allocation(g.ctx, "acme", id)
	if err != nil {
		return 0, err
	}
	if label, err = strconv.Atoi(a.CustomField); err == nil {
		g.historians.mu.Lock()
		g.labels[id] = label
		g.historians.mu.Unlock()
	}
	return label, err
}

// check looks everything up once more, and has every history judged.
func (h *historians) check() {
	answers, silences := 0, 0
	for _, g := range h.all {
		for number := range groupNumbers {
			for person := range groupPeople {
				g.note(clientsOfAGroup, request{"route", mapped{number: number, from: 1 << person}})
			}
		}
		for label := range g.ids {
			g.note(clientsOfAGroup, request{"get", mapped{label: label}})
		}
		for _, op := range g.ops {
			if answers++; op.Return == never {
				silences++
			}
		}
		result, info := porcupine.CheckOperationsVerbose(claims(), g.ops, time.Minute)
		if result == porcupine.Ok {
			continue
		}
		h.t.Errorf("a history of %d operations: %s", len(g.ops), result)
		if f, err := os.CreateTemp("", "tandem-history-*.html"); err == nil {
			h.must(porcupine.Visualize(claims(), info, f))
			h.must(f.Close())
			h.t.Logf("it is drawn in %s", f.Name())
		}
		return // the others may take as long
	}
	h.t.Logf("%d histories of %d operations, %d of them without an answer", len(h.all), answers, silences)
	if answers < operations {
		h.t.Error("too little was asked to prove anything")
	}
}
