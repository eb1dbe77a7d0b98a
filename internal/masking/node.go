package masking

import "time"

// A Node is a server that carries calls, one of several on one database.
type Node struct {
	ID        string
	StartedAt time.Time // of its run, which no other run of this node shares
	SeenAt    time.Time // its last sign of life, by the clock of whoever wrote it: its own, or that of another node it has answered
	// GoneAt is since when it is not there: it has stopped, or others have found it
	// silent and closed its calls. A sign of life makes it zero again.
	GoneAt    time.Time
	Version   string
	Addresses []string // where it is reached: of the API, then of SIP, as it tells its peers
	// Folder is where its data folder is, the same for one folder of one running
	// machine alone; "" where that is not known.
	Folder   string
	Calls    int  // that are up
	Draining bool // it takes no new ones
}

const (
	// Heartbeat is how often a node gives a sign of life.
	Heartbeat = time.Second
	// Lease is how long a sign of life is good for. Whose node has died hears nothing
	// for so long, before another one takes the talk up.
	Lease = 4 * time.Second
	// askAfter is how long a node is silent before the others ask it whether it lives:
	// longer than between two signs of life, and early enough for two questions
	// before its lease is over.
	askAfter = Heartbeat * 3 / 2
	// lookWithin is how far looks at the other nodes may be apart to be of use.
	lookWithin = Lease / 2
	// afterOutage is how much longer others may take than this node to find the database
	// again.
	afterOutage = 2 * Lease
)

// Alive reports whether a node's lease runs at now. Clocks of nodes are at most two
// seconds apart, which a lease has room for.
func (n Node) Alive(now time.Time) bool {
	return n.GoneAt.IsZero() && now.Sub(n.SeenAt) < Lease
}

// MayHaveDialogs reports whether a request within a dialog may be one for n: also for a
// lease after it was found gone, in which its talks are taken over one after the other.
func (n Node) MayHaveDialogs(now time.Time) bool {
	return n.GoneAt.IsZero() || now.Sub(n.GoneAt) < Lease
}

// LastRunOf reports whether n, as it was found, is the last run of a node that starts
// on the given folder, which nobody else holds: then that run is over.
func (n Node) LastRunOf(folder string) bool { return folder != "" && n.Folder == folder }

// SameLife reports whether there was no sign of life between two looks.
func (n Node) SameLife(m Node) bool {
	return n.StartedAt.Equal(m.StartedAt) && n.SeenAt.Equal(m.SeenAt)
}

// A Lookout is what a node has seen of the others. Its zero value has seen nothing.
//
// Who is lost is judged by how long the one who looks has seen no sign of life, by his
// own clock: neither does it matter what another's clock says, nor is anybody taken for
// dead because the database, or he who looks, was away.
type Lookout struct {
	at   time.Time // of the last look
	seen map[string]sight
}

// A sight is a node as it was seen last.
type sight struct {
	node  Node
	since time.Time     // since when without a sign of life
	grace time.Duration // how much longer than a lease it is waited for
}

// Look adds a look at all nodes at now. It gives those that are silent, which are to be
// asked whether they live, and of them those without a sign of life for a lease, both in
// the order of nodes. The calls of the lost are to be closed. One who is gone already is
// asked no more, and is given as lost once a lease: he may have begun calls when he was back for a moment.
//
// Looks that are further apart than half a lease say nothing about what was between
// them: then all begins anew, and takes longer, since others were without the database
// as well.
func (l Lookout) Look(self string, nodes []Node, now time.Time) (next Lookout, silent, lost []Node) {
	next = Lookout{at: now, seen: make(map[string]sight, len(nodes))}
	steady := now.Sub(l.at) <= lookWithin
	for _, n := range nodes {
		if n.ID == self {
			continue
		}
		s, known := l.seen[n.ID]
		if !known || !steady || !s.node.SameLife(n) {
			s.since, s.grace = now, 0
		}
		if !steady {
			s.grace = afterOutage
		}
		s.node = n
		if now.Sub(s.since) >= askAfter && n.GoneAt.IsZero() {
			silent = append(silent, n)
		}
		if now.Sub(s.since) >= Lease+s.grace {
			lost = append(lost, n)
			if !n.GoneAt.IsZero() {
				s.since, s.grace = now, 0
			}
		}
		next.seen[n.ID] = s
	}
	return next, silent, lost
}
