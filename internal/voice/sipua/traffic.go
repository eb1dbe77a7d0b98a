package sipua

import (
	"sync/atomic"

	"tandem/internal/ladder"
)

// traffic counts messages, retransmissions too, by what they are and which way they
// go. Every message is counted, whether anybody knows its call or not.
type traffic struct {
	requests  [2][32]atomic.Int64 // by direction and the method's code
	responses [2][7]atomic.Int64  // by direction and class
}

func (c *traffic) count(m ladder.Message, out bool) {
	way := 0
	if out {
		way = 1
	}
	if class := m.Status / 100; m.Status != 0 {
		if class > 0 && class < 7 {
			c.responses[way][class].Add(1)
		}
		return
	}
	c.requests[way][ladder.MethodCode(m.Method)].Add(1)
}

// Requests is how many of a method (ladder.Methods) were sent, or received.
func (ua *Agent) Requests(out bool, method string) int64 {
	if out {
		return ua.traffic.requests[1][ladder.MethodCode(method)].Load()
	}
	return ua.traffic.requests[0][ladder.MethodCode(method)].Load()
}

// Responses is how many of a class, 1 to 6, were sent, or received.
func (ua *Agent) Responses(out bool, class int) int64 {
	if out {
		return ua.traffic.responses[1][class].Load()
	}
	return ua.traffic.responses[0][class].Load()
}
