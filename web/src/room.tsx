// The review room: what takes over from the page the server rendered.
export {};
