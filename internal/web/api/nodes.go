package api

import (
	"context"
	"net/http"
	"time"

	"tandem/internal/control"
	"tandem/internal/masking"
)

// Node is a server as the operator sees it.
type Node struct {
	ID        string   `json:"node_id" doc:"as node in records of calls"`
	State     string   `json:"state" enum:"up,draining,stopped,silent" doc:"stopped: it took no new calls and is not there any more; silent: it is not there, and has not said that it would go"`
	Alive     bool     `json:"alive" doc:"it gave a sign of life within the last four seconds, and has not stopped"`
	StartedAt string   `json:"started_at" format:"date-time"`
	SeenAt    string   `json:"seen_at" format:"date-time" doc:"its last sign of life; of one that cannot reach the database and answers the others by SIP, when it did so"`
	GoneAt    string   `json:"gone_at,omitempty" format:"date-time" doc:"since when it is not there: it has stopped, or others have found it silent and closed its calls"`
	Version   string   `json:"version"`
	Addresses []string `json:"addresses" doc:"where it listens" example:"[\"http://127.0.0.1:8080\",\"udp://127.0.0.1:5060\"]"`
	Calls     int      `json:"calls" doc:"that were up at its last sign of life"`
	Draining  bool     `json:"draining" doc:"it takes no new calls and lets those that are up end"`
}

// nodeRoutes declares the operations on nodes.
func (r *router) nodeRoutes() {
	operation[struct{}, list[Node]](r, operatorOp("GET", "/nodes", "admin-nodes-list", "List the servers on the database, those of the last week with them"), r.listNodes)
}

func (s *server) listNodes(ctx context.Context, _ *struct{}) (control.Answer, error) {
	nodes, now, err := s.Plane.Nodes.List(ctx)
	if err != nil {
		return control.Answer{}, err
	}
	return render(http.StatusOK, newList(nodes, func(n masking.Node) Node { return presentNode(n, now) }, false, nil)), nil
}

func presentNode(n masking.Node, now time.Time) Node {
	v := Node{ID: n.ID, Alive: n.Alive(now), StartedAt: masking.Stamp(n.StartedAt, time.UTC), SeenAt: masking.Stamp(n.SeenAt, time.UTC),
		Version: n.Version, Addresses: append([]string{}, n.Addresses...), Calls: n.Calls, Draining: n.Draining}
	switch {
	case v.Alive && v.Draining:
		v.State = "draining"
	case v.Alive:
		v.State = "up"
	case v.Draining:
		v.State = "stopped"
	default:
		v.State = "silent"
	}
	if !n.GoneAt.IsZero() {
		v.GoneAt = masking.Stamp(n.GoneAt, time.UTC)
	}
	return v
}
