"""Words about the drawings: other names for them, and which are asked for first."""

# Everyday words for what the sets call otherwise.
EVERYDAY: dict[str, tuple[str, ...]] = {
    "automobile": ("car",),
    "beer-mug": ("beer",),
    "birthday-cake": ("cake",),
    "bouquet": ("bunch of flowers",),
    "doughnut": ("donut",),
    "ear-of-corn": ("corn",),
    "evergreen-tree": ("fir tree",),
    "flexed-biceps": ("strong arm",),
    "four-leaf-clover": ("clover",),
    "glasses": ("spectacles",),
    "hot-beverage": ("cup of coffee",),
    "lady-beetle": ("ladybird", "ladybug"),
    "locomotive": ("steam train",),
    "pile-of-poo": ("poo",),
    "red-apple": ("apple",),
    "red-heart": ("heart",),
    "sailboat": ("sailing boat",),
    "soccer-ball": ("football",),
    "spiral-shell": ("sea shell",),
    "steaming-bowl": ("bowl of noodles",),
    "teacup-without-handle": ("cup of tea",),
    "television": ("tv",),
    "wrapped-gift": ("present", "gift"),
}

# Never held out: what the demo, the benchmarks and the example datasets prompt for.
FIRST_CONCEPTS = (
    "cat cat-face dog dog-face panda frog owl fox koala mouse mouse-face crab wolf butterfly "
    "apple red-apple doughnut carrot hamburger avocado cookie umbrella television cactus robot "
    "bell tulip bus lion pig-face lady-beetle bear octopus strawberry pineapple watermelon "
    "sunflower evergreen-tree wrapped-gift trophy light-bulb crown automobile castle house "
    "banana rocket"
)

# What a person is likely to ask for and 128 pixels can show: first, where not all can be captioned.
ILLUSTRATED = """
    ant bat honeybee bird duck rooster penguin camel chipmunk cow-face deer dolphin dragon-face
    elephant fish tropical-fish blowfish goat gorilla horse-face monkey-face rabbit-face scorpion
    shark shrimp snail snake spider squid tiger-face turtle spouting-whale hatching-chick lizard
    bacon bread candy cheese-wedge cherries chestnut croissant eggplant french-fries hot-dog
    hot-pepper ice-cream kiwi-fruit lemon melon mushroom pancakes peach pear pizza popcorn potato
    sushi taco tangerine tomato shortcake beer-mug wine-glass tropical-drink hot-beverage cooking
    blossom cherry-blossom christmas-tree hibiscus maple-leaf palm-tree rose seedling shamrock
    cloud crescent-moon droplet fire full-moon rainbow snowflake snowman star sun tornado volcano
    airplane ambulance bicycle fire-engine helicopter locomotive motorcycle sailboat ship taxi
    tractor canoe
    alarm-clock anchor backpack balloon basketball bed bomb candle camera closed-book door dress
    drum gem-stone ghost glasses guitar hammer handbag jeans key microscope mobile-phone money-bag
    musical-note necktie paintbrush pencil pill ring running-shoe saxophone scissors shield skull
    soccer-ball sunglasses t-shirt tennis tent toilet top-hat trumpet violin watch wrench
    blue-heart high-voltage red-heart
"""
