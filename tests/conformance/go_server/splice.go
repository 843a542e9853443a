package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"path"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	headerBytes   = 9
	paddingBytes  = 37
	windowDefault = 65535
	unknownFrame  = 0xfa
)

// splice lies between net/http's server and the client's TLS connection. The server's own frames pass; what its API
// cannot be asked for is written between them with the Framer of the same library, and answers to that are kept from
// the server. It also learns which stream a request came on, which a handler is not told.
type splice struct {
	net.Conn
	number  int
	tell    func(event string, fields map[string]any)
	padded  bool
	closing atomic.Bool  // the next response asks net/http to end the connection gracefully
	ready   bytes.Buffer // from the client, for the server
	preface int
	decoder *hpack.Decoder
	path    string

	mu       sync.Mutex
	moved    *sync.Cond // a frame of the server has passed
	partial  []byte     // from the server, up to a whole frame
	inBlock  bool       // between HEADERS and their last CONTINUATION
	later    []func()   // frames that wait for the end of a block
	out      bytes.Buffer
	framer   *http2.Framer
	added    int
	settings []bool // SETTINGS without an acknowledgement; true for the server's own
	streams  map[string]uint32
	sent     map[uint32]*progress
	deficit  uint32 // by which we announced less than the server's own initial window
	released bool
	closed   bool
	dropped  map[uint32]bool // streams that were reset behind the server's back
}

// progress is how far the server's response on a stream has gone out.
type progress struct {
	headers int
	bytes   int
	ended   bool
}

func newSplice(conn net.Conn, number int, padded bool, tell func(string, map[string]any)) *splice {
	s := &splice{
		Conn: conn, number: number, tell: tell, padded: padded, preface: len(http2.ClientPreface),
		streams: map[string]uint32{}, sent: map[uint32]*progress{}, dropped: map[uint32]bool{},
	}
	s.moved = sync.NewCond(&s.mu)
	s.framer = http2.NewFramer(&s.out, nil)
	s.decoder = hpack.NewDecoder(4096, func(field hpack.HeaderField) {
		if field.Name == ":path" {
			s.path = field.Value
		}
	})
	return s
}

// Read gives the server the client's frames, each whole.
func (s *splice) Read(p []byte) (int, error) {
	for s.ready.Len() == 0 {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	return s.ready.Read(p)
}

func (s *splice) next() error {
	if s.preface > 0 {
		preface := make([]byte, s.preface)
		s.preface = 0
		_, err := io.ReadFull(s.Conn, preface)
		s.ready.Write(preface)
		return err
	}
	header := make([]byte, headerBytes)
	if _, err := io.ReadFull(s.Conn, header); err != nil {
		return err
	}
	payload := make([]byte, int(header[0])<<16|int(header[1])<<8|int(header[2]))
	if _, err := io.ReadFull(s.Conn, payload); err != nil {
		return err
	}
	if s.hear(http2.FrameType(header[3]), http2.Flags(header[4]), binary.BigEndian.Uint32(header[5:]), payload) {
		s.ready.Write(header)
		s.ready.Write(payload)
	}
	return nil
}

// hear looks at a frame of the client; false keeps it from the server.
func (s *splice) hear(kind http2.FrameType, flags http2.Flags, stream uint32, payload []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch kind {
	case http2.FrameSettings:
		if flags.Has(http2.FlagSettingsAck) {
			s.tell("acknowledged", nil)
			own := s.settings[0]
			s.settings = s.settings[1:]
			return own
		}
	case http2.FramePing:
		if flags.Has(http2.FlagPingAck) {
			s.tell("pong", nil)
		}
	case http2.FrameRSTStream:
		for token, id := range s.streams {
			if id == stream {
				s.tell("cancelled", map[string]any{"token": token})
			}
		}
		return !s.dropped[stream]
	case http2.FrameHeaders, http2.FrameContinuation:
		s.decoder.Write(payload) // our client neither pads nor sets priorities
		if flags.Has(http2.FlagHeadersEndHeaders) {
			s.decoder.Close()
			s.streams[path.Base(s.path)] = stream
			if s.released && s.deficit > 0 {
				s.add(func() { s.framer.WriteWindowUpdate(stream, s.deficit) })
				s.flush()
			}
		}
	}
	return true
}

// Write takes the server's frames.
func (s *splice) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partial = append(s.partial, p...)
	for len(s.partial) >= headerBytes {
		end := headerBytes + int(s.partial[0])<<16 + int(s.partial[1])<<8 + int(s.partial[2])
		if len(s.partial) < end {
			break
		}
		s.pass(s.partial[:end])
		s.partial = s.partial[end:]
	}
	if err := s.flush(); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (s *splice) pass(frame []byte) {
	kind, flags := http2.FrameType(frame[3]), http2.Flags(frame[4])
	stream, payload := binary.BigEndian.Uint32(frame[5:]), frame[headerBytes:]
	if stream != 0 && s.dropped[stream] {
		return
	}
	going := s.of(stream)
	switch kind {
	case http2.FrameHeaders:
		s.inBlock = !flags.Has(http2.FlagHeadersEndHeaders)
		going.headers++
		going.ended = flags.Has(http2.FlagHeadersEndStream)
	case http2.FrameContinuation:
		s.inBlock = !flags.Has(http2.FlagContinuationEndHeaders)
	case http2.FrameData:
		going.bytes += len(payload)
		going.ended = flags.Has(http2.FlagDataEndStream)
	case http2.FrameGoAway:
		if code := http2.ErrCode(binary.BigEndian.Uint32(payload[4:])); code != http2.ErrCodeNo {
			s.tell("broken", map[string]any{"detail": code.String()})
		}
	case http2.FrameSettings:
		if !flags.Has(http2.FlagSettingsAck) {
			s.settings = append(s.settings, true)
		}
	}
	switch {
	case s.padded && kind == http2.FrameData:
		s.added++
		s.framer.WriteDataPadded(stream, going.ended, payload, make([]byte, paddingBytes))
	case s.padded && kind == http2.FrameHeaders:
		s.added++
		s.framer.WriteHeaders(http2.HeadersFrameParam{
			StreamID: stream, BlockFragment: payload, EndStream: going.ended, EndHeaders: !s.inBlock, PadLength: paddingBytes,
		})
	default:
		s.out.Write(frame)
	}
	if !s.inBlock {
		for _, write := range s.later {
			write()
		}
		s.later = nil
	}
	s.moved.Broadcast()
}

func (s *splice) of(stream uint32) *progress {
	if s.sent[stream] == nil {
		s.sent[stream] = &progress{}
	}
	return s.sent[stream]
}

func (s *splice) flush() error {
	_, err := s.out.WriteTo(s.Conn)
	return err
}

// add writes a frame that the server knows nothing of, where no header block is under way.
func (s *splice) add(write func()) {
	s.added++
	if s.inBlock {
		s.later = append(s.later, write)
	} else {
		write()
	}
}

func (s *splice) inject(write func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(write)
	s.flush()
}

// wait returns when the server's response on a stream has gone out this far, or the connection is over.
func (s *splice) wait(stream uint32, far func(*progress) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closed && !far(s.of(stream)) {
		s.moved.Wait()
	}
}

func (s *splice) reset(stream uint32, code http2.ErrCode) {
	s.inject(func() {
		s.framer.WriteRSTStream(stream, code)
		s.dropped[stream] = true
	})
}

func (s *splice) announce(values []http2.Setting, serverWindow uint32) {
	s.inject(func() {
		s.settings = append(s.settings, false)
		s.framer.WriteSettings(values...)
		for _, value := range values {
			if value.ID == http2.SettingInitialWindowSize {
				s.deficit = serverWindow - value.Val
			}
		}
	})
}

// release gives back by how much the announced windows are smaller than what the server thinks they are.
func (s *splice) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released = true
	for _, stream := range s.streams {
		if s.deficit > 0 {
			s.add(func() { s.framer.WriteWindowUpdate(stream, s.deficit) })
		}
	}
	s.flush()
}

func (s *splice) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		s.tell("closed", nil)
	}
	s.moved.Broadcast()
	s.mu.Unlock()
	return s.Conn.Close()
}
