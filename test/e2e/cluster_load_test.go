package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tandem/internal/client"
	"tandem/internal/voice/phone"
	"tandem/internal/voice/sdp"
	"tandem/test/world"
)

var clusterCalls = flag.Int("clustercalls", 360, "calls of sipp through three nodes at once")

// TestThreeNodesOnOnePostgreSQLCountEveryCallAndChangeOnce has sipp call through three
// nodes at 20 calls a second each while clients create allocations at all of them.
func TestThreeNodesOnOnePostgreSQLCountEveryCallAndChangeOnce(t *testing.T) {
	c := threeNodes(t)
	callers := c.pool(*clusterCalls / len(c.nodes))
	far := world.StartSipp(t, "udp", "-sn", "uas")
	country := "IN"
	_, err := c.api.CreateTrunk(c.ctx, client.NewTrunk{Name: "sipp", TrunkSettings: client.TrunkSettings{Country: &country,
		Sources: []string{"127.0.0.1/32"}, Targets: []string{far.Addr}}})
	c.must(err)
	crowd := &carriers{s: c.site, incoming: make(chan *phone.Call)}
	crowd.in = crowd.phone(netip.MustParseAddr("127.0.0.1"), sdp.Plain)
	for _, n := range c.nodes {
		crowd.known(n.p)
	}
	before := c.open()
	w := newWriters(c)
	stop := w.begin(0)
	var running []*world.Sipp
	for i, n := range c.nodes {
		running = append(running, world.StartSipp(t, "udp", "-sf", scenario(t, "uac.xml"), "-inf", callers[i], "-s", virtual,
			"-m", strconv.Itoa(*clusterCalls/len(c.nodes)), "-r", "20", "-d", "1000", n.p.sip().String()))
	}
	for _, n := range c.nodes {
		c.wait("calls of all nodes to be seen at each", func() bool { return len(nodesOfCalls(t, n)) == len(c.nodes) })
	}
	c.listed(*clusterCalls)
	for _, s := range running {
		s.Wait(t, 2*time.Minute+time.Duration(*clusterCalls)*time.Second/30)
	}
	stop()
	calls := *clusterCalls / len(c.nodes) * len(c.nodes)
	c.wait("the end of all records", func() bool { return c.told("call.completed") == calls })
	c.ended(map[string]int{"caller_hung_up": calls})
	for _, typ := range []string{"call.ringing", "call.answered"} {
		if got := c.told(typ); got != calls {
			t.Errorf("%d events %s of %d calls", got, typ, calls)
		}
	}
	w.kept()
	c.wait("descriptors and goroutines to be as before", func() bool { return before.holds(c.open()) })
	t.Logf("%d calls, %d creates acknowledged", calls, w.acked.Load())
}

// pool allocates callers for each node, with HTTP at another, and gives sipp's lists.
func (c *cluster) pool(each int) (lists []string) {
	c.t.Helper()
	_, err := c.api.AddNumbers(c.ctx, "acme", []client.NewNumber{{Number: virtual, Sharing: "shared"}})
	c.must(err)
	for i := range c.nodes {
		text := "SEQUENTIAL\n"
		for k := range min(each, 200) { // who has called may call again
			from, to := fmt.Sprintf("+9199%d00%05d", i, k), fmt.Sprintf("+9188%d00%05d", i, k)
			_, err := c.nodes[k%len(c.nodes)].api.Load().CreateAllocation(c.ctx, "acme", client.NewAllocation{CallerIDNumber: virtual,
				From: []string{from}, To: []string{to}})
			c.must(err)
			text += from + ";\n"
		}
		list := filepath.Join(c.t.TempDir(), "callers.csv")
		c.must(os.WriteFile(list, []byte(text), 0o600))
		lists = append(lists, list)
	}
	return lists
}

// scenario is a script of sipp's that the tests against other software have.
func scenario(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../interop/testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// nodesOfCalls are the nodes of the calls that a node shows as live.
func nodesOfCalls(t *testing.T, n *node) map[string]bool {
	t.Helper()
	live, err := n.api.Load().LiveCalls(n.ctx, client.Page{Limit: 100})
	n.must(err)
	nodes := map[string]bool{}
	for _, c := range live.Items {
		nodes[c.Node] = true
	}
	return nodes
}

// listed holds what "tandem nodes" shows, asked of the last node, against what is there.
func (c *cluster) listed(most int) {
	c.t.Helper()
	n := c.nodes[len(c.nodes)-1]
	c.wait("calls in the signs of life of all nodes", func() bool {
		all, err := n.api.Load().Nodes(c.ctx)
		c.must(err)
		return !slices.ContainsFunc(all.Items, func(one client.Node) bool { return one.Calls == 0 })
	})
	token, err := os.ReadFile(filepath.Join(n.dir, "admin.token"))
	c.must(err)
	cmd := exec.CommandContext(c.ctx, c.binary, "nodes", "--server", "http://"+n.p.addrs.HTTP, "-o", "json")
	cmd.Env = append(os.Environ(), "TANDEM_ADMIN_TOKEN="+strings.TrimSpace(string(token)))
	out, err := cmd.Output()
	c.must(err)
	var shown client.List[client.Node]
	c.must(json.Unmarshal(out, &shown))
	calls := 0
	for _, one := range shown.Items {
		calls += int(one.Calls)
		if !one.Alive || one.Draining || one.Calls == 0 {
			c.t.Errorf("%+v", one)
		}
	}
	if len(shown.Items) != len(c.nodes) || calls > most {
		c.t.Errorf("tandem nodes shows\n%s", out)
	}
}

// opened is what each node's process has open: descriptors and goroutines.
type opened [][2]int

func (c *cluster) open() (all opened) {
	c.t.Helper()
	for _, n := range c.nodes {
		fds, goroutines := n.p.open()
		all = append(all, [2]int{fds, goroutines})
	}
	return all
}

// holds tells that nothing more is open now than then, but for what a pool of
// connections to the database may have grown by.
func (then opened) holds(now opened) bool {
	const pool, timers = 20, 5
	for i := range then {
		if now[i][0] > then[i][0]+pool || now[i][1] > then[i][1]+timers {
			return false
		}
	}
	return true
}
