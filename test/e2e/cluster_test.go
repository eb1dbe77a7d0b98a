package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"tandem/internal/client"
	"tandem/internal/testkit/postgres"
)

// cluster is several servers as processes of their own, on one PostgreSQL. Each may be
// killed and started again, at the addresses of SIP that it had.
type cluster struct {
	*site // of the first node
	nodes []*node
}

// node is one of them: a site whose server may be another one by now.
type node struct {
	*site
	p   *process
	api atomic.Pointer[client.Client] // asked by many while the server is started again
}

// newCluster starts n nodes on a database, each at an address of its own, which is
// nobody else's, with what more of the environment they get.
func newCluster(t *testing.T, binary, database string, n int, environ ...string) *cluster {
	t.Helper()
	c := &cluster{site: newSite(t, binary)}
	for range n {
		c.add(database, environ...)
	}
	return c
}

// add starts one more node.
func (c *cluster) add(database string, environ ...string) {
	c.t.Helper()
	s := c.site
	if len(c.nodes) > 0 {
		s = &site{t: c.t, ctx: c.ctx, binary: c.binary, dir: c.t.TempDir(), web: c.web, tenant: c.tenant}
	}
	s.must(os.WriteFile(filepath.Join(s.dir, "master.key"), []byte(strings.Repeat("ab", 32)+"\n"), 0o600))
	at := fmt.Sprintf("127.0.1.%d:0", len(c.nodes)+1)
	s.environ = append([]string{"TANDEM_DATABASE_URL=" + database, "TANDEM_LOG_LEVEL=info", "TANDEM_SIP_LISTEN=udp://" + at + ",tcp://" + at}, environ...)
	one := &node{site: s}
	c.nodes = append(c.nodes, one)
	one.start()
	s.stay(one.p)
}

// threeNodes are nodes on a PostgreSQL with room for the connections of all.
func threeNodes(t *testing.T) *cluster {
	t.Helper()
	database := postgres.Start(t, "max_connections=300")
	return newCluster(t, build(t), database.URL(database.Database(t, "")), 3)
}

// start starts a node's server, again if there was one.
func (n *node) start() {
	n.t.Helper()
	n.p = n.site.start()
	n.api.Store(n.site.api)
}
