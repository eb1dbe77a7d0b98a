package world

import (
	"encoding/binary"
	"net"
	"sync"
)

// A Collector takes HEP packets as HOMER does, and keeps their SIP messages.
type Collector struct {
	conn net.PacketConn
	done chan struct{}

	mu       sync.Mutex
	messages []Exported
}

// Exported is one message that a server exported.
type Exported struct {
	Call string // correlation id
	SIP  []byte
}

// NewCollector listens on loopback. Close it.
func NewCollector() (*Collector, error) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &Collector{conn: conn, done: make(chan struct{})}
	go c.listen()
	return c, nil
}

// Setting makes a server export to the collector (Options.Environ).
func (c *Collector) Setting() string { return "TANDEM_HEP_TARGET=" + c.conn.LocalAddr().String() }

// Messages are those that came so far.
func (c *Collector) Messages() []Exported {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Exported(nil), c.messages...)
}

// Close ends it.
func (c *Collector) Close() error {
	err := c.conn.Close()
	<-c.done
	return err
}

func (c *Collector) listen() {
	defer close(c.done)
	b := make([]byte, 65536)
	for {
		n, _, err := c.conn.ReadFrom(b)
		if err != nil {
			return
		}
		m := read(b[:n])
		c.mu.Lock()
		c.messages = append(c.messages, m)
		c.mu.Unlock()
	}
}

// read takes payload and correlation id out of a HEPv3 packet.
func read(b []byte) (m Exported) {
	if len(b) < 6 || string(b[:4]) != "HEP3" {
		return Exported{}
	}
	for b = b[6:]; len(b) >= 6; {
		n := int(binary.BigEndian.Uint16(b[4:]))
		if n < 6 || n > len(b) {
			return Exported{}
		}
		switch value := b[6:n]; binary.BigEndian.Uint16(b[2:]) {
		case 0x0f:
			m.SIP = append([]byte(nil), value...)
		case 0x11:
			m.Call = string(value)
		}
		b = b[n:]
	}
	return m
}
