// Draws a model in WebGL. Loaded only when somebody wants to turn one.
import {
  Box3, Color, DirectionalLight, DoubleSide, HemisphereLight, Mesh, MeshStandardMaterial, PerspectiveCamera, RepeatWrapping, Scene,
  Texture, Vector3, WebGLRenderer, type BufferGeometry, type Object3D,
} from "three";
import { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
import { GLTFLoader, type GLTFLoaderPlugin, type GLTFParser } from "three/examples/jsm/loaders/GLTFLoader.js";
import { OBJLoader } from "three/examples/jsm/loaders/OBJLoader.js";
import { PLYLoader } from "three/examples/jsm/loaders/PLYLoader.js";
import { STLLoader } from "three/examples/jsm/loaders/STLLoader.js";
import type { Controls } from "../stage";
import type { Format } from "./model";

export async function open(place: HTMLElement, data: ArrayBuffer, format: Format): Promise<Controls & { close: () => void }> {
  const model = await load(data, format);
  const renderer = new WebGLRenderer({ antialias: true, alpha: true });
  place.append(renderer.domElement);
  const scene = new Scene();
  const sun = new DirectionalLight(0xffffff, 2.2);
  scene.add(model, new HemisphereLight(0xffffff, 0x50545c, 1.6), sun);
  const box = new Box3().setFromObject(model);
  const [centre, reach] = [box.getCenter(new Vector3()), box.getSize(new Vector3()).length() || 1];
  const camera = new PerspectiveCamera(40, 1, reach / 1000, reach * 20);
  const orbit = new OrbitControls(camera, renderer.domElement);
  const render = () => {
    sun.position.copy(camera.position).add(new Vector3(-0.7, 0.9, 0).applyQuaternion(camera.quaternion).multiplyScalar(reach)); // over one's shoulder
    renderer.render(scene, camera);
  };
  const fit = () => {
    camera.position.copy(centre).add(new Vector3(0.6, 0.45, 1).normalize().multiplyScalar(reach * 1.35));
    orbit.target.copy(centre);
    orbit.update();
    render();
  };
  const resize = () => {
    const { clientWidth: width, clientHeight: height } = place;
    renderer.setPixelRatio(devicePixelRatio);
    renderer.setSize(width, height);
    camera.aspect = width / Math.max(1, height);
    camera.updateProjectionMatrix();
    render();
  };
  orbit.addEventListener("change", render);
  const observer = new ResizeObserver(resize);
  observer.observe(place);
  fit();
  return {
    zoom: (by) => {
      camera.position.sub(orbit.target).divideScalar(by).add(orbit.target);
      orbit.update();
      render();
    },
    fit,
    pan: (across, down) => {
      const arm = camera.position.clone().sub(orbit.target);
      arm.applyAxisAngle(new Vector3(0, 1, 0), across * 0.2);
      arm.y += down * reach * 0.1;
      camera.position.copy(orbit.target).add(arm);
      orbit.update();
      render();
    },
    close: () => {
      observer.disconnect();
      orbit.dispose();
      renderer.dispose();
      renderer.domElement.remove();
    },
  };
}

async function load(data: ArrayBuffer, format: Format): Promise<Object3D> {
  if (format === "glb") {
    const loader = new GLTFLoader();
    loader.register((parser) => new Inside(parser));
    return (await loader.parseAsync(data, "")).scene;
  }
  if (format === "obj") return new OBJLoader().parse(new TextDecoder().decode(data));
  const shape: BufferGeometry = format === "stl" ? new STLLoader().parse(data) : new PLYLoader().parse(data);
  if (!shape.getAttribute("normal")) shape.computeVertexNormals();
  const coloured = shape.hasAttribute("color");
  return new Mesh(shape, new MeshStandardMaterial({ color: new Color(coloured ? 0xffffff : 0xb8bcc4), vertexColors: coloured, side: DoubleSide }));
}

/** Decodes pictures that lie inside a model without making addresses of them: our policy lets no blob: address in. */
class Inside implements GLTFLoaderPlugin {
  name = "inside";

  constructor(private readonly parser: GLTFParser) {}

  async loadTexture(index: number): Promise<Texture> {
    const { textures, images } = this.parser.json as { textures: { source: number }[]; images: { bufferView?: number; mimeType?: string }[] };
    const image = images[textures[index]?.source ?? -1];
    if (image?.bufferView === undefined) throw new Error("The model needs pictures that are not inside it.");
    const bytes = (await this.parser.getDependency("bufferView", image.bufferView)) as ArrayBuffer;
    const texture = new Texture(await createImageBitmap(new Blob([bytes], { type: image.mimeType ?? "image/png" })));
    texture.flipY = false;
    texture.wrapS = texture.wrapT = RepeatWrapping;
    texture.needsUpdate = true;
    this.parser.associations.set(texture, { textures: index });
    return texture;
  }
}
